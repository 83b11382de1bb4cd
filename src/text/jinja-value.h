/* The values a template computes with, and the state of one compilation or render that they live in.
 *
 * A Value is a small tagged union, passed by copy. What it points to lives in the heap of its Run, is never freed
 * before the Run ends, and, lists and dicts aside, never changes. Strings are valid UTF-8 and need no terminator.
 *
 * Failure is one non-local jump: jinja_fail() writes the Error and returns to jinja_guard(). Nothing is leaked by it,
 * because nothing in these files owns memory outside the Run's heap. So no function here returns an error. */
#pragma once

#include <jansson.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/error.h"

typedef struct Run Run;
typedef struct Args Args;
typedef struct Dict Dict;
typedef struct Loop Loop;
typedef struct Macro Macro;
typedef struct Scope Scope;

typedef enum ValueKind {
        VALUE_ABSENT, /* an argument that was not given */
        VALUE_UNDEFINED,
        VALUE_NONE,
        VALUE_BOOL,
        VALUE_INT,
        VALUE_FLOAT,
        VALUE_STRING,
        VALUE_LIST,
        VALUE_TUPLE,
        VALUE_DICT,
        VALUE_NAMESPACE,
        VALUE_LOOP,
        VALUE_MACRO,
        VALUE_FUNCTION,
} ValueKind;

/* Text under construction. Growing moves `data`, and what was handed out before stays valid. */
typedef struct Text {
        char *data;
        size_t len, cap;
} Text;

typedef struct String {
        const char *data;
        size_t len;
        Text *room; /* NULL, or what the bytes are the beginning of: the string at its end can be extended in place */
} String;

typedef struct Value {
        ValueKind kind;
        bool safe; /* strings: marked by |safe or |escape; adding a plain string to it escapes that one */
        union {
                bool b;
                int64_t i;
                double f;
                const String *s; /* VALUE_STRING; VALUE_UNDEFINED: the name that was not found */
                struct List *list; /* VALUE_LIST, VALUE_TUPLE */
                Dict *dict;        /* VALUE_DICT, VALUE_NAMESPACE */
                Loop *loop;
                const Macro *macro;
                const struct Function *function;
        };
} Value;

/* Lists share items: below `n` they stay as they are, appending puts new ones behind them, and what changes them
 * otherwise gives the list new items first. */
typedef struct List {
        Value *items;
        size_t n, cap;
        bool lazy; /* a generator in Python, which is true even when it yields nothing */
} List;

typedef struct DictEntry {
        Value key, value;
} DictEntry;

struct Dict { /* in order of insertion; searched linearly, as the objects of a conversation are small */
        DictEntry *entries;
        size_t n, cap;
};

typedef struct Named {
        const String *name;
        Value value;
} Named;

struct Args {
        const Value *v;
        size_t n;
        const Named *named;
        size_t n_named;
};

/* A function in C. `params` names its parameters ("old new count?"); the arguments then come as one Value per
 * parameter, VALUE_ABSENT for a "?" one that was not given. "*": they come as they were written. `self` is a filter's
 * or test's subject, a method's object. */
typedef struct Builtin {
        const char *name, *params;
        Value (*call)(Run *r, Value self, const Args *a);
} Builtin;

enum { BUILTIN_MAX_PARAMS = 8 };

typedef struct Function { /* a function as a value, bound to its object when it is a method */
        const Builtin *builtin;
        Value self;
} Function;

struct Run {
        struct Chunk *chunks;
        char *next, *end; /* what is free in the newest chunk */
        size_t memory, max_memory;
        jmp_buf escape;
        Error *error;
        int code;
        const String *source;
        size_t pos; /* byte of the source at work */
        uint64_t steps;
        unsigned depth;
        Text *out;
        Scope *scope;
        const Dict *context;
        const Builtin *functions; /* the host's */
        json_t *documents;        /* what the template parsed itself: an array, or NULL */
};

/* Runs `fn` where jinja_fail() may be called; 0, or the code of the failure. */
int jinja_guard(Run *r, void (*fn)(Run *r, void *arg), void *arg);
void jinja_fail(Run *r, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
/* Counts work against the bound on steps; jinja_scan() does so for looking through text. */
void jinja_charge(Run *r, size_t steps);
void jinja_scan(Run *r, size_t bytes);
void jinja_enter(Run *r);
void jinja_leave(Run *r);
/* Zeroed memory. */
void *jinja_alloc(Run *r, size_t n, size_t size);
void jinja_deinit(Run *r);

/* Text and strings. */
char *jinja_reserve(Run *r, Text *t, size_t n);
void jinja_put(Run *r, Text *t, const void *data, size_t n);
void jinja_puts(Run *r, Text *t, const char *s);
void jinja_putc(Run *r, Text *t, char c);
void jinja_put_char(Run *r, Text *t, uint32_t c);
void jinja_printf(Run *r, Text *t, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
Value jinja_text(Run *r, const Text *t);
/* A string that points to `data`, which must outlive the Run's values. */
Value jinja_string(Run *r, const char *data, size_t len);
Value jinja_cstring(Run *r, const char *s);
Value jinja_concat(Run *r, Value a, Value b);
bool jinja_is(const String *s, const char *name);
bool jinja_same(Run *r, const String *a, const String *b);
int jinja_compare_bytes(Run *r, const String *a, const String *b);
/* Characters (code points) of `n` bytes, and the byte where character `i` begins. */
size_t jinja_count_chars(Run *r, const char *s, size_t n);
size_t jinja_char_offset(Run *r, const String *s, size_t i);
/* The character at *p, which moves behind it. */
uint32_t jinja_next_char(const char **p);
/* Python's str.isspace(). */
bool jinja_is_space(uint32_t c);
/* Without the characters at either end that are in `chars`, or white space when NULL. */
Value jinja_strip(Run *r, Value s, const String *chars, bool left, bool right);
/* First occurrence at or behind `from`, or SIZE_MAX. */
size_t jinja_find(Run *r, const String *s, const String *sub, size_t from);

/* Making values. */
Value jinja_undefined(const String *name);
Value jinja_none(void);
Value jinja_bool(bool b);
Value jinja_int(int64_t i);
Value jinja_float(double f);
Value jinja_list(Run *r, size_t room);
Value jinja_tuple(Run *r, size_t n, const Value *items);
Value jinja_dict(Run *r);
Value jinja_function(Run *r, const Builtin *b, Value self);
void jinja_append(Run *r, Value list, Value item);
/* A list of `n` items of a list or tuple. */
Value jinja_sub_list(Run *r, Value v, size_t from, size_t n);

/* Dicts. jinja_get() returns NULL when there is no such key. */
Value *jinja_get(Run *r, const Dict *d, Value key);
Value *jinja_get_name(Run *r, const Dict *d, const String *name);
void jinja_set(Run *r, Dict *d, Value key, Value value);
bool jinja_del(Run *r, Dict *d, Value key);

/* Reading values. */
bool jinja_truthy(Value v);
bool jinja_is_number(Value v); /* also a bool, as in Python */
bool jinja_is_sequence(Value v); /* list or tuple */
bool jinja_as_int(Value v, int64_t *ret);
double jinja_as_float(Value v);
const char *jinja_kind(Value v); /* Python's name of its type, for messages */
bool jinja_equal(Run *r, Value a, Value b);
/* Python's `<` as -1, 0, 1; an error for what has no order. */
int jinja_order(Run *r, Value a, Value b);
bool jinja_contains(Run *r, Value container, Value item);
size_t jinja_length(Run *r, Value v);
/* The items a `for` would see, as a list that nobody changes. */
Value jinja_iterate(Run *r, Value v);
/* What an operation needs, or an error; `what` is for its message. */
void jinja_need_defined(Run *r, Value v);
int64_t jinja_need_int(Run *r, Value v, const char *what);
const String *jinja_need_string(Run *r, Value v, const char *what);

/* Printing (jinja-print.c). */
Value jinja_str(Run *r, Value v); /* Python's str() */
void jinja_put_str(Run *r, Text *t, Value v);
void jinja_put_repr(Run *r, Text *t, Value v);
Value jinja_escape(Run *r, Value v); /* HTML; marked safe */
typedef struct JsonStyle {
        bool ensure_ascii, sort_keys;
        const String *indent; /* NULL: on one line */
        const String *item_separator, *key_separator;
} JsonStyle;
void jinja_put_json(Run *r, Text *t, Value v, const JsonStyle *style);
/* Strings point into `j`. */
Value jinja_from_json(Run *r, const json_t *j);
Value jinja_parse_json(Run *r, const String *s);
Value jinja_sort(Run *r, Value list, bool reverse, Value (*key)(Run *r, Value item, const void *arg), const void *arg);

/* Operators and access (jinja-ops.c). */
typedef enum Op {
        OP_ADD,
        OP_SUB,
        OP_MUL,
        OP_DIV,
        OP_FLOOR_DIV,
        OP_MOD,
        OP_POW,
        OP_EQ,
        OP_NE,
        OP_LT,
        OP_LE,
        OP_GT,
        OP_GE,
        OP_IN,
        OP_NOT_IN,
} Op;

Value jinja_arithmetic(Run *r, Op op, Value a, Value b);
bool jinja_comparison(Run *r, Op op, Value a, Value b);
Value jinja_loop_attribute(Run *r, const Loop *l, const String *name);
Value jinja_attribute(Run *r, Value v, const String *name);
Value jinja_item(Run *r, Value v, Value key);
Value jinja_slice(Run *r, Value v, Value start, Value stop, Value step);

/* Calls and variables (jinja-eval.c). */
Value jinja_call(Run *r, Value callee, const Args *a);
Value jinja_call_builtin(Run *r, const Builtin *b, Value self, const Args *a);
/* A variable of the context, not of the template; undefined when there is none. */
Value jinja_lookup(Run *r, const char *name);

/* Tables; NULL when there is no such name. */
const Builtin *jinja_find_builtin(const Builtin *table, const String *name);
const Builtin *jinja_find_filter(const String *name);
const Builtin *jinja_find_test(const String *name);
const Builtin *jinja_find_method(Value v, const String *name);
extern const Builtin jinja_functions[];

/* What methods of strings and filters share (jinja-methods.c); `self` need not be a string. */
Value jinja_upper(Run *r, Value self, const Args *a);
Value jinja_lower(Run *r, Value self, const Args *a);
Value jinja_capitalize(Run *r, Value self, const Args *a);
Value jinja_center(Run *r, Value self, const Args *a);  /* "width fill?" */
Value jinja_replace(Run *r, Value self, const Args *a); /* "old new count?" */
Value jinja_trim(Run *r, Value self, const Args *a);    /* "chars?" */
Value jinja_items(Run *r, Value self, const Args *a);
/* Every word, as told by the character before it, begins with an upper-case letter. */
Value jinja_title(Run *r, Value s, bool (*within_word)(uint32_t before));
Value jinja_is_case(Run *r, Value s, bool upper); /* str.isupper(), str.islower() */
Value jinja_splitlines(Run *r, const String *s, bool keep_ends);
Value jinja_format_percent(Run *r, const String *format, Value v); /* "abc %s" % v */
