/* Prints every configuration key, its type and its default: what test-man-config.py holds the documentation against. */
#include <stdio.h>

#include "daemon/config.h"

int main(void) {
        _cleanup_buf_ Buf keys = BUF_NULL;
        config_keys(&keys);
        return keys.failed || fputs(keys.data, stdout) == EOF;
}
