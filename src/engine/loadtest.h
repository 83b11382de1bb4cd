/* Models that compute nothing, for measuring everything else: how many requests a second the daemon takes, how many
 * tokens a second it delivers, what a queue does to latencies.
 *
 *   IPC_PATH_DELAY  holds a slot for the time its prompt says ("100ms", "0.1"), counted from getting the slot (where it
 *                   was waited for: from when the last one was due), and then answers the one token "ok"
 *   IPC_PATH_NULL   says "a " over and over, a token for each sequence in turn, as fast as it is taken, until
 *                   max_tokens (16 where it is not given)
 *
 * Everything around them is what any model has: messages, preparation on a worker, the fair queue, slots, stop strings,
 * replay. A token of a prompt is one byte. A chat's prompt is the content of its last message. */
#pragma once

#include <jansson.h>

#include "engine/runner.h"
#include "text/tokenizer.h"

typedef enum LoadTest { LOADTEST_NONE, LOADTEST_DELAY, LOADTEST_NULL } LoadTest;

enum { LOADTEST_CONTEXT = 1 << 20, LOADTEST_TOKENS_DEFAULT = 16 };

/* Which one a model's path names. */
LoadTest loadtest_of_path(const char *path);
/* What reads its prompts and chats. */
int loadtest_tokenizer_new(Tokenizer **ret, Error *e);
json_t *loadtest_details(void); /* as show_details(); NULL: no memory */
json_t *loadtest_show(void);    /* as show_file() */

int loadtest_new(LoadTest what, uint32_t slots, Runner **ret, Error *e);
