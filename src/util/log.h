/* The log of a process: to the journal with fields when stderr leads there, else to stderr.
 *
 * Only rooms that own a decision log (daemon, api, engine main); library rooms return an Error and log at most at
 * debug. Never blocks the loop longer than one write. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "util/macro.h"

typedef enum LogLevel { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 } LogLevel;

/* `name` prefixes lines on stderr. Decides once where messages go. */
void log_init(const char *name);
void log_set_level(LogLevel level);
LogLevel log_get_level(void);
/* "error", "warning", "notice", "info", "debug"; -EINVAL. */
int log_level_from_string(const char *s, LogLevel *ret);
const char *log_level_to_string(LogLevel level);

/* What a message is about, for the journal; on stderr they are shown only at debug level. */
typedef struct LogFields {
        const char *message_id; /* 32 hex digits that stay the same for ever: daemon/message.h. NULL: none */
        uint64_t request_id;    /* 0: none */
        const char *model;      /* NULL: none */
        const uid_t *uid;       /* NULL: none */
} LogFields;

void log_write(LogLevel level, const LogFields *fields, const char *fmt, ...) _printf_(3, 4);
/* A message as the journal takes it, in at most `size` bytes; returns the length. */
size_t log_journal_entry(char *buf, size_t size, LogLevel level, const LogFields *fields, const char *text);

#define log_error(...) log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, NULL, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, NULL, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(...)                                             \
        do {                                                       \
                if (log_get_level() >= LOG_LEVEL_DEBUG)            \
                        log_write(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__); \
        } while (0)
