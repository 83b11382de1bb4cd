/* Logging; see log.h. $JOURNAL_STREAM names the device and inode of the journal's stream: when stderr is that very
 * file, messages go to the journal natively with their fields, else as lines to stderr. The journal's protocol is one
 * datagram of lines "KEY=value" for each message, documented as stable; speaking it here keeps it in every build. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/log.h"

enum { TEXT_MAX = 2048 };

static const char *log_name = "zerollama";
static LogLevel log_max = LOG_LEVEL_INFO;
static int journal_fd = -1;

static const char *const level_names[] = {
        [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
        [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

void log_init(const char *name) {
        log_name = name;
        const char *e = getenv("JOURNAL_STREAM");
        uintmax_t dev, ino;
        struct stat st;
        if (e && sscanf(e, "%ju:%ju", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino)
                journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
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

/* One line "KEY=value": control characters of a value, which may come from a file's name, do not begin another. */
static void put_field(char *buf, size_t size, size_t *n, const char *key, const char *value) {
        int len = snprintf(buf + *n, size - *n, "%s=%s", key, value);
        size_t end = MIN(*n + (size_t)MAX(len, 0), size - 2);
        for (char *p = buf + *n; p < buf + end; p++)
                if ((unsigned char)*p < ' ')
                        *p = ' ';
        buf[end] = '\n';
        buf[end + 1] = 0;
        *n = end + 1;
}

static void put_number(char *buf, size_t size, size_t *n, const char *key, uint64_t value) {
        char text[24];
        snprintf(text, sizeof(text), "%" PRIu64, value);
        put_field(buf, size, n, key, text);
}

static size_t put_fields(char *buf, size_t size, const LogFields *f) {
        size_t n = 0;
        *buf = 0;
        if (f && f->message_id)
                put_field(buf, size, &n, "MESSAGE_ID", f->message_id);
        if (f && f->request_id)
                put_number(buf, size, &n, "REQUEST_ID", f->request_id);
        if (f && f->uid)
                put_number(buf, size, &n, "UID", *f->uid);
        if (f && f->model)
                put_field(buf, size, &n, "MODEL", f->model);
        return n;
}

size_t log_journal_entry(char *buf, size_t size, LogLevel level, const LogFields *fields, const char *text) {
        size_t n = put_fields(buf, size / 2, fields);
        put_number(buf, size, &n, "PRIORITY", (uint64_t)level);
        put_field(buf, size, &n, "SYSLOG_IDENTIFIER", log_name);
        put_field(buf, size, &n, "MESSAGE", text);
        return n;
}

/* False where there is no journal, or it has no room at the moment: the message then goes to stderr. */
static bool journal_send(LogLevel level, const LogFields *fields, const char *text) {
        static const struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
        char entry[TEXT_MAX + 1024];
        if (journal_fd < 0)
                return false;
        size_t n = log_journal_entry(entry, sizeof(entry), level, fields, text);
        return sendto(journal_fd, entry, n, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&addr, sizeof(addr)) >= 0;
}

static void stderr_write(LogLevel level, const LogFields *fields, const char *text) {
        char about[512] = "", line[TEXT_MAX + 1024];
        if (log_max >= LOG_LEVEL_DEBUG)
                put_fields(about, sizeof(about), fields);
        int n = snprintf(line, sizeof(line), "%s[%d]: %s%s%s%s%s", log_name, (int)getpid(),
                         level <= LOG_LEVEL_WARNING ? level_names[level] : "", level <= LOG_LEVEL_WARNING ? ": " : "", text,
                         *about ? " | " : "", about);
        n = MIN(n, (int)sizeof(line) - 2);
        while (n > 0 && line[n - 1] == '\n')
                n--;
        for (char *p = line; p < line + n; p++)
                if (*p == '\n')
                        *p = ' ';
        line[n++] = '\n';
        ssize_t ignored _unused_ = write(STDERR_FILENO, line, (size_t)n);
}

void log_write(LogLevel level, const LogFields *fields, const char *fmt, ...) {
        if (level > log_max)
                return;
        int saved = errno;
        char text[TEXT_MAX];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (!journal_send(level, fields, text))
                stderr_write(level, fields, text);
        errno = saved;
}
