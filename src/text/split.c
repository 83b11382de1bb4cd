/* A model's text, told apart; see split.h.
 *
 *   AT_START ──mark──▶ IN_THOUGHTS ──mark──▶ AFTER_THOUGHTS
 *      └──────────any other text──┬──────────────┘
 *                                 ▼              mark              the JSON is whole
 *                            IN_CONTENT ──────────────▶ IN_CALL ──────────────────▶ AFTER_CALL ──▶ IN_CONTENT
 *                                 ▲───no call after all─────┘
 * Each step looks at `held`, takes from its front what is certain, and returns false when only more text can tell. Thoughts
 * begin at the start of the text or not at all: what is said of "<think>" later is content. So does a call without a mark.
 *
 * gpt-oss writes messages instead, one after another (OpenAI's "harmony" format), of which the prompt has begun the first:
 *
 *   [<|start|>assistant][ to=RECIPIENT]<|channel|>CHANNEL[ to=RECIPIENT][ <|constrain|>json]<|message|>BODY<|end|>
 *
 *   IN_HEADER ──<|message|>──▶ IN_MESSAGE ──<|end|> or <|start|>──▶ IN_HEADER
 *
 * What is on the channel "analysis" is thought; what goes to functions.NAME is a call of NAME, whose arguments are the body; all
 * else is content.
 *
 * A call ends with its JSON, which is followed byte by byte to the bracket that closes it; the closing mark may be in one of its
 * strings. What jansson then accepts is a call, and its arguments are copied from the text: numbers stay what they were. */
#include <string.h>

#include <jansson.h>

#include "text/split.h"
#include "util/macro.h"
#include "util/str.h"

typedef struct TextPart { /* of what is held */
        size_t at, len;
} TextPart;

typedef struct Form {
        unsigned bit;
        const char *open, *close; /* close "": none */
        const char *shows[2], *hides[2]; /* a template that has one of the first and none of the others has the form */
} Form;

static const Form thinks[] = {
        {SPLIT_THINK_TAGS, "<think>", "</think>", {"</think>", "<think>"}, {0}},
        {SPLIT_THINK_BRACKETS, "[THINK]", "[/THINK]", {"[THINK]"}, {0}},
};

/* "<function=" and "<arg_key>" stand for JSON between the same tags in other families. */
static const Form calls[] = {
        {SPLIT_CALL_LIST_TAGS, "<tool_calls>", "</tool_calls>", {"<tool_calls>["}, {0}},
        {SPLIT_CALL_TAGS, "<tool_call>", "</tool_call>", {"<tool_call>"}, {"<function=", "<arg_key>"}},
        {SPLIT_CALL_LIST, "<|tool_call|>", "", {"<|tool_call|>"}, {0}},
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS]", "", {"[TOOL_CALLS]"}, {0}},
        {SPLIT_CALL_BARE, "<|python_tag|>", "", {"{\"name\": function name, \"parameters\":"}, {0}},
};

/* SPLIT_CALL_BRACKETS: a name may come before the JSON, which is then its arguments, and between them an id. */
#define NAME_ENDS "[ARGS]"
#define NAME_ID "[CALL_ID]"
enum { CALL_NAME_MAX = 256 }; /* bytes of it all, or it is none */

#define CHANNEL "<|channel|>"
#define MESSAGE "<|message|>"
#define FUNCTIONS "functions."
enum { HEADER_MAX = 512 }; /* bytes, or it is none */

static const char *const message_ends[] = {"<|end|>", "<|start|>"};

static const Form *find_form(const Form *rows, size_t n, unsigned forms) {
        for (size_t i = 0; i < n; i++)
                if (forms & rows[i].bit)
                        return &rows[i];
        return NULL;
}

static const Form *think_form(unsigned forms) {
        return find_form(thinks, ARRAY_SIZE(thinks), forms);
}

static const Form *call_form(unsigned forms) {
        return find_form(calls, ARRAY_SIZE(calls), forms);
}

/* ---- what a template and a prompt tell ---- */

static bool contains(const char *text, size_t len, const char *what) {
        return memmem(text, len, what, strlen(what)) != NULL;
}

static bool contains_one(const char *text, size_t len, const char *const what[2]) {
        return (what[0] && contains(text, len, what[0])) || (what[1] && contains(text, len, what[1]));
}

static unsigned first_shown(const Form *rows, size_t n, const char *template, size_t len) {
        for (size_t i = 0; i < n; i++)
                if (contains_one(template, len, rows[i].shows) && !contains_one(template, len, rows[i].hides))
                        return rows[i].bit;
        return 0;
}

unsigned split_forms(const char *template, size_t len) {
        if (contains(template, len, CHANNEL) && contains(template, len, MESSAGE))
                return SPLIT_CHANNELS | (contains(template, len, "tools") ? SPLIT_CHANNEL_CALLS : 0);
        unsigned forms = first_shown(thinks, ARRAY_SIZE(thinks), template, len);
        if (!contains(template, len, "tools"))
                return forms;
        unsigned call = first_shown(calls, ARRAY_SIZE(calls), template, len);
        return forms | (call ? call : SPLIT_CALL_UNKNOWN);
}

static bool is_white(char c) {
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static size_t white_at_end(const char *text, size_t len) {
        size_t n = 0;
        while (n < len && is_white(text[len - 1 - n]))
                n++;
        return n;
}

bool split_is_thinking(unsigned forms, const char *prompt, size_t len) {
        const Form *f = think_form(forms);
        size_t end = len - white_at_end(prompt, len), n = f ? strlen(f->open) : 0;
        return f && end >= n && memcmp(prompt + end - n, f->open, n) == 0;
}

void split_begin_answer(unsigned forms, Buf *prompt) {
        if (forms & SPLIT_CHANNELS)
                buf_puts(prompt, CHANNEL "final" MESSAGE);
}

void split_begin_call(unsigned forms, Buf *prompt) {
        const Form *t = think_form(forms), *c = call_form(forms);
        if (split_is_thinking(forms, prompt->data ? prompt->data : "", prompt->len)) {
                buf_puts(prompt, t->close);
                buf_puts(prompt, "\n\n");
        }
        if (c && c->bit != SPLIT_CALL_BARE)
                buf_puts(prompt, c->open);
        if (c && c->bit == SPLIT_CALL_TAGS)
                buf_putc(prompt, '\n');
}

bool split_is_mark(unsigned forms, const char *text, size_t len) {
        static const char *const channels[] = {CHANNEL, MESSAGE, "<|constrain|>", "<|end|>", "<|start|>"};
        const Form *t = think_form(forms), *c = call_form(forms);
        for (size_t i = 0; (forms & SPLIT_CHANNELS) && i < ARRAY_SIZE(channels); i++)
                if (bytes_are(text, len, channels[i]))
                        return true;
        if (len == 0) /* a call may be bare */
                return false;
        return (t && (bytes_are(text, len, t->open) || bytes_are(text, len, t->close))) ||
               (c && (bytes_are(text, len, c->open) || bytes_are(text, len, c->close))) ||
               ((forms & SPLIT_CALL_BRACKETS) && (bytes_are(text, len, NAME_ENDS) || bytes_are(text, len, NAME_ID)));
}

/* ---- the front of what is held ---- */

void split_init(Split *s, unsigned forms) {
        s->forms = forms;
        s->state = forms & SPLIT_CHANNELS   ? SPLIT_IN_HEADER
                   : forms & SPLIT_THINKING ? SPLIT_IN_THOUGHTS
                   : forms & SPLIT_CALLING  ? SPLIT_IN_CALL
                                            : SPLIT_AT_START;
}

void split_deinit(Split *s) {
        Buf *const all[] = {&s->held, &s->content, &s->thinking, &s->calls, &s->call_text};
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                buf_deinit(all[i]);
}

void split_clear(Split *s) {
        Buf *const all[] = {&s->content, &s->thinking, &s->calls, &s->call_text};
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                buf_clear(all[i]);
}

size_t split_size(const Split *s) {
        return s->held.len + s->content.len + s->thinking.len + s->calls.len + s->call_text.len;
}

bool split_failed(const Split *s) {
        return s->held.failed || s->content.failed || s->thinking.failed || s->calls.failed || s->call_text.failed;
}

static void drop(Split *s, size_t n) {
        buf_consume(&s->held, n);
}

static void give(Split *s, Buf *to, size_t n) {
        buf_put(to, s->held.data, n);
        drop(s, n);
}

static size_t white_at(const Split *s, size_t from) {
        size_t n = 0;
        while (from + n < s->held.len && is_white(s->held.data[from + n]))
                n++;
        return n;
}

static bool begins_with(const Split *s, size_t from, const char *mark) {
        size_t n = strlen(mark);
        return n > 0 && s->held.len - from >= n && memcmp(s->held.data + from, mark, n) == 0;
}

/* What is held from there on is the beginning of the mark, and more text must tell whether it is the mark. */
static bool may_begin(const Split *s, size_t from, const char *mark) {
        size_t n = s->held.len - from;
        return n < strlen(mark) && memcmp(s->held.data + from, mark, n) == 0;
}

/* Where the mark begins, or what could become it, or the end. */
static size_t find(const Split *s, const char *mark, bool *ret_whole) {
        size_t n = strlen(mark), i = 0;
        const char *at = memmem(s->held.data, s->held.len, mark, n);
        *ret_whole = at;
        if (at)
                return (size_t)(at - s->held.data);
        i = s->held.len >= n ? s->held.len - n + 1 : 0;
        while (i < s->held.len && !may_begin(s, i, mark))
                i++;
        return i;
}

/* ---- thoughts ---- */

static void enter(Split *s, SplitState state) {
        s->state = state;
        s->mark = s->name = s->name_len = s->value = s->scanned = 0;
        s->scan = (SplitScan){0};
}

/* A call without a mark begins after the white space, or else content does, for good. False: not to be told yet. */
static bool begin_content(Split *s, size_t white, bool last) {
        if (white == s->held.len && !last)
                return false;
        bool bare = (s->forms & SPLIT_CALL_BARE) && white < s->held.len && s->held.data[white] == '{';
        enter(s, bare ? SPLIT_IN_CALL : SPLIT_IN_CONTENT);
        return true;
}

static bool at_start(Split *s, bool last) {
        const Form *f = think_form(s->forms);
        size_t white = white_at(s, 0);
        if (f && begins_with(s, white, f->open)) {
                drop(s, white + strlen(f->open));
                enter(s, SPLIT_IN_THOUGHTS);
                return true;
        }
        if (f && may_begin(s, white, f->open) && !last)
                return false;
        return begin_content(s, white, last);
}

static bool in_thoughts(Split *s, bool last) {
        const Form *f = think_form(s->forms);
        bool closed;
        if (!s->thought)
                drop(s, white_at(s, 0));
        size_t end = find(s, f->close, &closed), n = end - white_at_end(s->held.data, end);
        if (last && !closed)
                end = n = s->held.len;
        s->thought |= n > 0;
        give(s, &s->thinking, n);
        if (!closed)
                return false;
        drop(s, end - n + strlen(f->close));
        enter(s, SPLIT_AFTER_THOUGHTS);
        return true;
}

static bool after_thoughts(Split *s, bool last) {
        drop(s, white_at(s, 0));
        return begin_content(s, 0, last);
}

/* ---- JSON that is known to be right ---- */

/* Takes the next byte of a value that begins with a bracket: true at the bracket that closes it. */
static bool closes(SplitScan *s, char c) {
        if (s->escaped)
                s->escaped = false;
        else if (c == '"')
                s->in_string = !s->in_string;
        else if (s->in_string)
                s->escaped = c == '\\';
        else if (c == '{' || c == '[')
                s->depth++;
        else if (c == '}' || c == ']')
                return --s->depth == 0;
        return false;
}

static const char *string_end(const char *p) {
        for (p++; *p != '"'; p++)
                p += *p == '\\';
        return p + 1;
}

static const char *value_end(const char *p) {
        SplitScan scan = {0};
        if (*p == '"')
                return string_end(p);
        if (*p != '{' && *p != '[')
                return p + strcspn(p, ",}] \n\t\r");
        while (!closes(&scan, *p))
                p++;
        return p + 1;
}

/* The next key, value or element, after white space and at most one of the characters between them; or the last bracket. */
static const char *next(const char *p) {
        p += strspn(p, " \n\t\r");
        p += *p == ',' || *p == ':';
        return p + strspn(p, " \n\t\r");
}

/* The value of an object's member: of several with that name the last, which is what a parser has. */
static const char *member(const char *object, const char *name) {
        const char *found = NULL;
        size_t n = strlen(name);
        for (const char *key = next(object + 1), *value; *key == '"'; key = next(value_end(value))) {
                value = next(string_end(key));
                if (string_end(key) == key + n + 2 && memcmp(key + 1, name, n) == 0)
                        found = value;
        }
        return found;
}

/* Without the white space that is no part of a string. */
static void copy_value(const char *value, Buf *out) {
        SplitScan scan = {0};
        for (const char *end = value_end(value); value < end; value++) {
                if (scan.in_string || !is_white(*value))
                        buf_putc(out, *value);
                closes(&scan, *value);
        }
}

/* ---- calls ---- */

static bool in_content(Split *s, bool last) {
        const Form *f = call_form(s->forms);
        bool whole = false;
        size_t end = f ? find(s, f->open, &whole) : s->held.len;
        give(s, &s->content, whole || !last ? end : s->held.len);
        if (!whole)
                return false;
        enter(s, SPLIT_IN_CALL);
        s->mark = strlen(f->open);
        return true;
}

/* It is content after all. What was followed as JSON is not looked at again: each byte is followed once. */
static bool no_call(Split *s) {
        give(s, &s->content, MAX(s->mark, s->scanned));
        enter(s, SPLIT_IN_CONTENT);
        return true;
}

static void add_call(Split *s, const char *name, size_t name_len, const char *arguments) {
        if (s->most > 0 && s->n_calls >= s->most)
                return;
        SplitCall call = {.name = s->call_text.len, .name_len = name_len, .arguments = s->call_text.len + name_len};
        buf_put(&s->call_text, name, name_len);
        copy_value(arguments, &s->call_text);
        if (s->call_text.failed)
                return;
        call.arguments_len = s->call_text.len - call.arguments;
        buf_put(&s->calls, &call, sizeof(call));
        s->n_calls++;
}

static const char *arguments_key(const json_t *call) {
        static const char *const keys[] = {"arguments", "parameters"};
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (json_is_object(json_object_get(call, keys[i])))
                        return keys[i];
        return NULL;
}

static bool is_call(const json_t *call) {
        return json_string_length(json_object_get(call, "name")) > 0 && arguments_key(call);
}

static void add_object(Split *s, const json_t *call, const char *json) {
        const json_t *name = json_object_get(call, "name");
        const char *arguments = member(json, arguments_key(call)); /* NULL: its key is written with escapes */
        if (arguments)
                add_call(s, json_string_value(name), json_string_length(name), arguments);
}

/* One call, or a list of them. */
static bool add_objects(Split *s, const json_t *value, const char *json) {
        const json_t *it;
        size_t i;
        json_array_foreach(value, i, it)
                if (!is_call(it))
                        return false;
        json_array_foreach(value, i, it) {
                json = next(json + (i == 0));
                add_object(s, it, json);
                json = value_end(json);
        }
        if (is_call(value))
                add_object(s, value, json);
        return is_call(value) || json_array_size(value) > 0;
}

static bool take_call(Split *s) {
        const char *json = s->held.data + s->value;
        json_t *value = json_loadb(json, s->scanned - s->value, JSON_ALLOW_NUL, NULL);
        bool good = s->name_len > 0 ? json_is_object(value) : add_objects(s, value, json);
        if (s->name_len > 0 && good)
                add_call(s, s->held.data + s->name, s->name_len, json);
        json_decref(value);
        if (!good)
                return no_call(s);
        drop(s, s->scanned);
        enter(s, SPLIT_AFTER_CALL);
        return true;
}

typedef enum Found { NOT_YET, NEVER, FOUND } Found;

static Found value_is_at(Split *s, size_t at) {
        at += white_at(s, at);
        if (at == s->held.len)
                return NOT_YET;
        if (s->held.data[at] != '{' && (s->held.data[at] != '[' || s->name_len > 0))
                return NEVER;
        s->value = s->scanned = at;
        return FOUND;
}

/* "name[ARGS]{…}", "name[CALL_ID]id[ARGS]{…}" */
static Found find_named(Split *s) {
        size_t at = s->mark + white_at(s, s->mark);
        const char *name = s->held.data + at;
        const char *args = memmem(name, s->held.len - at, NAME_ENDS, strlen(NAME_ENDS));
        if (!args)
                return s->held.len - at > CALL_NAME_MAX ? NEVER : NOT_YET;
        const char *id = memmem(name, (size_t)(args - name), NAME_ID, strlen(NAME_ID));
        s->name = at;
        s->name_len = (size_t)((id ? id : args) - name);
        return s->name_len == 0 ? NEVER : value_is_at(s, (size_t)(args - s->held.data) + strlen(NAME_ENDS));
}

static Found find_value(Split *s) {
        Found found = s->scanned > 0 ? FOUND : value_is_at(s, s->mark);
        return found == NEVER && (s->forms & SPLIT_CALL_BRACKETS) ? find_named(s) : found;
}

static bool in_call(Split *s, bool last) {
        Found found = find_value(s);
        while (found == FOUND && s->scanned < s->held.len)
                if (closes(&s->scan, s->held.data[s->scanned++]))
                        return take_call(s);
        return found == NEVER || last ? no_call(s) : false;
}

static bool after_call(Split *s, bool last) {
        const Form *f = call_form(s->forms);
        drop(s, white_at(s, 0));
        if (begins_with(s, 0, f->close)) {
                drop(s, strlen(f->close));
                return true;
        }
        if (may_begin(s, 0, f->close)) {
                drop(s, last ? s->held.len : 0);
                return false;
        }
        if (s->forms & SPLIT_CALL_BARE && begins_with(s, 0, ";"))
                drop(s, 1);
        return begin_content(s, white_at(s, 0), last);
}

/* ---- messages with headers ---- */

/* What stands behind `key` in the header, up to white space or a mark. */
static TextPart header_value(const Split *s, size_t len, const char *key) {
        const char *at = memmem(s->held.data, len, key, strlen(key));
        if (!at)
                return (TextPart){0};
        at += strlen(key);
        size_t n = 0, most = (size_t)(s->held.data + len - at);
        while (n < most && !is_white(at[n]) && at[n] != '<')
                n++;
        return (TextPart){(size_t)(at - s->held.data), n};
}

static bool part_is(const Split *s, TextPart part, const char *text) {
        return bytes_are(s->held.data + part.at, part.len, text);
}

/* Several messages of a kind are told apart by a line's end. */
static void begin_message(Split *s) {
        bool *before = s->thinks ? &s->thought : &s->said;
        if (*before)
                buf_putc(s->thinks ? &s->thinking : &s->content, '\n');
        *before = true;
}

/* Whether a text that ends here was about to write a header. */
static bool begins_header(const Split *s) {
        static const char *const begins[] = {"<|start|>", CHANNEL, " to="};
        for (size_t i = 0; i < ARRAY_SIZE(begins); i++)
                if (begins_with(s, 0, begins[i]) || may_begin(s, 0, begins[i]))
                        return true;
        return false;
}

/* A call's header is held until its arguments are known. What never becomes a header is content, but for the beginning of one
 * at the end of the text. */
static bool in_header(Split *s, bool last) {
        bool whole;
        size_t len = find(s, MESSAGE, &whole), body = len + strlen(MESSAGE);
        if (!whole && !last && len <= HEADER_MAX)
                return false;
        if (!whole || len > HEADER_MAX) {
                if (len <= HEADER_MAX && begins_header(s))
                        drop(s, s->held.len);
                s->thinks = s->calls_it = false;
                enter(s, SPLIT_IN_MESSAGE);
                return s->held.len > 0;
        }
        TextPart to = header_value(s, len, "to=" FUNCTIONS), channel = header_value(s, len, CHANNEL);
        enter(s, SPLIT_IN_MESSAGE);
        s->thinks = part_is(s, channel, "analysis");
        s->calls_it = to.len > 0 && (s->forms & SPLIT_CHANNEL_CALLS);
        if (s->calls_it) {
                s->name = to.at;
                s->name_len = to.len;
                s->value = s->scanned = body;
                return true;
        }
        drop(s, body);
        begin_message(s);
        return true;
}

/* Where the message ends, or may end, from `from` on; *ret_mark is the mark that ends it, or NULL. */
static size_t message_end(const Split *s, size_t from, const char **ret_mark) {
        for (size_t i = from; i < s->held.len; i++)
                for (size_t k = 0; k < ARRAY_SIZE(message_ends); k++) {
                        *ret_mark = begins_with(s, i, message_ends[k]) ? message_ends[k] : NULL;
                        if (*ret_mark || may_begin(s, i, message_ends[k]))
                                return i;
                }
        *ret_mark = NULL;
        return s->held.len;
}

static void take_arguments(Split *s, size_t end) {
        const char *json = s->held.data + s->value;
        json_t *value = json_loadb(json, end - s->value, JSON_ALLOW_NUL, NULL);
        if (json_is_object(value)) {
                add_call(s, s->held.data + s->name, s->name_len, json + white_at(s, s->value));
                drop(s, end);
        } else
                give(s, &s->content, end);
        json_decref(value);
        s->calls_it = false;
        enter(s, SPLIT_IN_MESSAGE);
}

/* A call ends with its JSON, or, if it is none, with the message. */
static bool in_arguments(Split *s, bool last) {
        const char *mark;
        size_t begin = s->value + white_at(s, s->value);
        if (begin < s->held.len && s->held.data[begin] == '{') {
                for (s->scanned = MAX(s->scanned, begin); s->scanned < s->held.len;)
                        if (closes(&s->scan, s->held.data[s->scanned++])) {
                                take_arguments(s, s->scanned);
                                return true;
                        }
                if (!last)
                        return false;
        }
        size_t end = message_end(s, begin, &mark);
        if (!mark && !last)
                return false;
        take_arguments(s, mark ? end : s->held.len);
        return true;
}

static bool in_message(Split *s, bool last) {
        const char *mark;
        if (s->calls_it)
                return in_arguments(s, last);
        size_t end = message_end(s, 0, &mark);
        give(s, s->thinks ? &s->thinking : &s->content, mark || !last ? end : s->held.len);
        if (!mark)
                return false;
        drop(s, strlen(mark));
        enter(s, SPLIT_IN_HEADER);
        return true;
}

void split_put(Split *s, const char *text, size_t len, bool last) {
        static bool (*const steps[])(Split *s, bool last) = {
                [SPLIT_AT_START] = at_start,     [SPLIT_IN_THOUGHTS] = in_thoughts, [SPLIT_AFTER_THOUGHTS] = after_thoughts,
                [SPLIT_IN_CONTENT] = in_content, [SPLIT_IN_CALL] = in_call,         [SPLIT_AFTER_CALL] = after_call,
                [SPLIT_IN_HEADER] = in_header,   [SPLIT_IN_MESSAGE] = in_message,
        };
        buf_put(s->forms ? &s->held : &s->content, text, len);
        while (s->held.len > 0 && !s->held.failed && steps[s->state](s, last))
                ;
}
