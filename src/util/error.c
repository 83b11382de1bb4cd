/* Error messages: formatting into the fixed-size Error; see error.h for the convention. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"

int error_set(Error *e, int code, const char *fmt, ...) {
        if (!e)
                return code;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
        e->code = code;
        return code;
}

int error_prefix(Error *e, const char *fmt, ...) {
        if (!e)
                return 0;
        char old[sizeof(e->text)];
        memcpy(old, e->text, sizeof(old));
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n + 2 < sizeof(e->text)) {
                memcpy(e->text + n, ": ", 2);
                size_t room = sizeof(e->text) - (size_t)n - 3, len = strlen(old);
                memcpy(e->text + n + 2, old, MIN(room, len));
                e->text[(size_t)n + 2 + MIN(room, len)] = 0;
        }
        return e->code;
}
