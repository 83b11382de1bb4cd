/* Logging; see log.h. $JOURNAL_STREAM names the device and inode of the journal's stream: when stderr is that very
 * file, messages go to the journal natively with their fields, else as lines to stderr. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <config.h>
#include "util/log.h"

#ifdef HAVE_SYSTEMD
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#endif

static const char *log_name = "zerollama";
static LogLevel log_max = LOG_LEVEL_INFO;
static bool log_to_journal;

static const char *const level_names[] = {
        [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
        [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

void log_init(const char *name) {
        log_name = name;
        const char *e = getenv("JOURNAL_STREAM");
        uintmax_t dev, ino;
        struct stat st;
        log_to_journal = e && sscanf(e, "%ju:%ju", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
                         st.st_dev == dev && st.st_ino == ino;
}

void log_set_level(LogLevel level) {
        log_max = level;
}

LogLevel log_get_level(void) {
        return log_max;
}

int log_level_from_string(const char *s, LogLevel *ret) {
        for (size_t i = LOG_LEVEL_ERROR; i < ARRAY_SIZE(level_names); i++)
                if (strcmp(s, level_names[i]) == 0) {
                        *ret = (LogLevel)i;
                        return 0;
                }
        return -EINVAL;
}

const char *log_level_to_string(LogLevel level) {
        return level_names[level];
}

#ifdef HAVE_SYSTEMD
static bool journal_send(LogLevel level, const char *fields, const char *text) {
        enum { MAX_FIELDS = 16 };
        char message[2200], priority[16], copy[1024] = "";
        struct iovec iov[MAX_FIELDS];
        int n = 0;
        snprintf(message, sizeof(message), "MESSAGE=%s", text);
        snprintf(priority, sizeof(priority), "PRIORITY=%d", (int)level);
        iov[n++] = (struct iovec){message, strlen(message)};
        iov[n++] = (struct iovec){priority, strlen(priority)};
        snprintf(copy, sizeof(copy), "%s", fields ? fields : "");
        for (char *save, *f = strtok_r(copy, "\n", &save); f && n < MAX_FIELDS; f = strtok_r(NULL, "\n", &save))
                iov[n++] = (struct iovec){f, strlen(f)};
        return sd_journal_sendv(iov, n) >= 0;
}
#else
static bool journal_send(LogLevel level _unused_, const char *fields _unused_, const char *text _unused_) {
        return false;
}
#endif

void log_write(LogLevel level, const char *fields, const char *fmt, ...) {
        if (level > log_max)
                return;
        int saved = errno;
        char text[2048];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (!log_to_journal || !journal_send(level, fields, text)) {
                bool detail = log_max >= LOG_LEVEL_DEBUG && fields;
                char line[3300];
                int n = snprintf(line, sizeof(line), "%s[%d]: %s%s%s%s%s\n", log_name, (int)getpid(),
                                 level <= LOG_LEVEL_WARNING ? level_names[level] : "",
                                 level <= LOG_LEVEL_WARNING ? ": " : "", text, detail ? " | " : "", detail ? fields : "");
                n = MIN(n, (int)sizeof(line) - 1);
                for (char *p = line; p < line + n - 1; p++)
                        if (*p == '\n')
                                *p = ' ';
                ssize_t ignored _unused_ = write(STDERR_FILENO, line, (size_t)n);
        }
        errno = saved;
}
