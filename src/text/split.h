/* What a model writes, split into what it says, what it thinks and which tools it calls.
 *
 * A model was trained to mark its thoughts and its calls in the text it writes, each family in its own way: a *form*. Which
 * forms a model has is read from its chat template, the only place that tells. The text then comes piece by piece, cut
 * anywhere, and the result depends on the text alone, never on the cuts.
 *
 * Nothing is lost: what begins like a call and turns out not to be one (broken JSON, no name, cut off at the end) is content,
 * as it was written. White space around thoughts and between calls is no text and is dropped. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

enum { /* forms, and what a prompt says of the text that follows it */
        SPLIT_THINK_TAGS = 1,       /* <think>…</think> */
        SPLIT_THINK_BRACKETS = 2,   /* [THINK]…[/THINK]: Mistral */
        SPLIT_CALL_TAGS = 4,        /* <tool_call>{"name": …, "arguments": {…}}</tool_call>: Hermes, Qwen */
        SPLIT_CALL_LIST_TAGS = 8,   /* <tool_calls>[{…}, …]</tool_calls>: Apriel */
        SPLIT_CALL_LIST = 16,       /* <|tool_call|>[{…}, …]: Granite */
        SPLIT_CALL_BRACKETS = 32,   /* [TOOL_CALLS][{…}, …], or [TOOL_CALLS]name[ARGS]{…}: Mistral */
        SPLIT_CALL_BARE = 64,       /* {"name": …, "parameters": {…}} and nothing else, or after <|python_tag|>: Llama 3 */
        SPLIT_CALL_UNKNOWN = 128,   /* the template takes tools; how calls are written is not known */
        SPLIT_CHANNELS = 1024,      /* messages with headers, each for a channel: gpt-oss, see split.c */
        SPLIT_CHANNEL_CALLS = 2048, /* … or for a function */
        SPLIT_THINKING = 256,       /* the prompt has begun the thinking already, */
        SPLIT_CALLING = 512,        /* or a call */
        SPLIT_THINKS = SPLIT_THINK_TAGS | SPLIT_THINK_BRACKETS | SPLIT_CHANNELS,
        SPLIT_CALLS = SPLIT_CALL_TAGS | SPLIT_CALL_LIST_TAGS | SPLIT_CALL_LIST | SPLIT_CALL_BRACKETS | SPLIT_CALL_BARE |
                      SPLIT_CHANNEL_CALLS,
};

/* The forms that a chat template speaks of: one way to think and one way to call at most. */
unsigned split_forms(const char *template, size_t len);
/* Whether a prompt of a model with these forms ends amid thoughts. */
bool split_is_thinking(unsigned forms, const char *prompt, size_t len);
/* What a prompt needs besides where the answer is told what to be, and begins at once. */
void split_begin_answer(unsigned forms, Buf *prompt);
/* Ends thoughts that a prompt has begun, and begins a call, of which the JSON is to come. Not of SPLIT_CHANNELS, which names
 * the function before. */
void split_begin_call(unsigned forms, Buf *prompt);
/* Whether `text`, of a special token, is a mark of these forms: then it belongs to the text, whatever its token is like. */
bool split_is_mark(unsigned forms, const char *text, size_t len);

typedef struct SplitCall { /* where in `call_text` */
        size_t name, name_len;
        size_t arguments, arguments_len; /* an object's JSON, as the model wrote it but for white space */
} SplitCall;

typedef enum SplitState { SPLIT_AT_START, SPLIT_IN_THOUGHTS, SPLIT_AFTER_THOUGHTS, SPLIT_IN_CONTENT, SPLIT_IN_CALL, SPLIT_AFTER_CALL,
                          SPLIT_IN_HEADER, SPLIT_IN_MESSAGE } SplitState;

typedef struct SplitScan { /* how deep in JSON */
        unsigned depth;
        bool in_string, escaped;
} SplitScan;

typedef struct Split { /* all zero: of a text without forms, all of which is content */
        unsigned forms;
        SplitState state;
        bool thought; /* there is a thought already: white space may be part of it */
        bool said;    /* with channels: there is content already; and whether the message at hand is a thought, or a call */
        bool thinks, calls_it;
        Buf held;     /* what is not told apart yet; of a call, all of it: */
        size_t mark;                   /* bytes of the mark, */
        size_t name, name_len;         /* where a name comes before the JSON, */
        size_t value, scanned;         /* where the JSON begins, 0: not known yet, and how far it was followed */
        SplitScan scan;
        size_t most;    /* calls that are wanted; 0: any number. More are dropped */
        size_t n_calls; /* so far */
        /* What came of it; the owner clears it when it has taken it. */
        Buf content, thinking;
        Buf calls, call_text; /* SplitCall[] */
} Split;

void split_init(Split *s, unsigned forms);
void split_deinit(Split *s);
/* `last`: nothing comes after this. */
void split_put(Split *s, const char *text, size_t len, bool last);
/* Forgets what came of it so far. */
void split_clear(Split *s);
/* Bytes it holds; and whether memory ran out on the way, so that they are not whole. */
size_t split_size(const Split *s);
bool split_failed(const Split *s);

/* Whether anything came of it. */
static inline bool split_has_news(const Split *s) {
        return s->content.len > 0 || s->thinking.len > 0 || s->calls.len > 0;
}

/* Whether what comes next is thought. */
static inline bool split_is_in_thoughts(const Split *s) {
        return s->state == SPLIT_IN_THOUGHTS || (s->state == SPLIT_IN_MESSAGE && s->thinks);
}

static inline size_t split_calls(const Split *s, const SplitCall **ret) {
        *ret = (const SplitCall *)(const void *)s->calls.data;
        return s->calls.len / sizeof(SplitCall);
}
