/* Values: their memory, and what Python says of their truth, equality, order and length.
 *
 * Memory is handed out front to back from chunks that double in size; nothing is freed before the Run ends. Under
 * AddressSanitizer each piece is its own chunk, so that stepping over its end is seen. */
#include "config.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"
#include "util/checked.h"
#include "util/str.h"

#ifdef __SANITIZE_ADDRESS__
enum { CHUNK_MIN = 0, CHUNK_MAX = 1 };
#else
enum { CHUNK_MIN = 8 << 10, CHUNK_MAX = 1 << 20 };
#endif

typedef struct Chunk {
        struct Chunk *next;
        _Alignas(max_align_t) char data[];
} Chunk;

int jinja_guard(Run *r, void (*fn)(Run *r, void *arg), void *arg) {
        if (setjmp(r->escape) != 0)
                return r->code;
        fn(r, arg);
        return 0;
}

void jinja_fail(Run *r, int code, const char *fmt, ...) {
        size_t line = 1, column = 1;
        for (size_t i = 0; r->source && i < r->pos && i < r->source->len; i++) {
                column += (r->source->data[i] & 0xc0) != 0x80;
                if (r->source->data[i] == '\n') {
                        line++;
                        column = 1;
                }
        }
        char text[sizeof(r->error->text) - 64]; /* leaves room for what stands before it */
        bool bad;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        text[utf8_valid_prefix(text, strlen(text), &bad)] = 0; /* it may have been cut inside a character */
        r->code = error_set(r->error, code, "chat template line %zu, column %zu: %s", line, column, text);
        longjmp(r->escape, 1);
}

void jinja_charge(Run *r, size_t steps) {
        r->steps += steps;
        if (r->steps > JINJA_MAX_STEPS)
                jinja_fail(r, -E2BIG, "the template runs for more than %d steps", JINJA_MAX_STEPS);
}

void jinja_scan(Run *r, size_t bytes) {
        jinja_charge(r, bytes / 16);
}

void jinja_enter(Run *r) {
        jinja_charge(r, 1);
        if (++r->depth > JINJA_MAX_DEPTH)
                jinja_fail(r, -E2BIG, "nested more than %d deep", JINJA_MAX_DEPTH);
}

void jinja_leave(Run *r) {
        r->depth--;
}

static void heap_grow(Run *r, size_t n) {
        size_t size = MAX(n, MIN(r->memory + CHUNK_MIN, (size_t)CHUNK_MAX));
        Chunk *c = calloc(1, sizeof(*c) + size);
        if (!c)
                jinja_fail(r, -ENOMEM, "out of memory");
        c->next = r->chunks;
        r->chunks = c;
        r->next = c->data;
        r->end = c->data + size;
}

void *jinja_alloc(Run *r, size_t n, size_t size) {
        size_t bytes, total;
        if (!checked_mul(n, size, &bytes) || !checked_align(bytes, _Alignof(max_align_t), &bytes) ||
            !checked_add(r->memory, bytes, &total) || total > r->max_memory)
                jinja_fail(r, -E2BIG, "the template needs more than %zu MiB of memory", r->max_memory >> 20);
        if ((size_t)(r->end - r->next) < bytes)
                heap_grow(r, bytes);
        void *p = r->next;
        r->next += bytes;
        r->memory = total;
        return p;
}

void jinja_deinit(Run *r) {
        for (Chunk *c = r->chunks, *next; c; c = next) {
                next = c->next;
                free(c);
        }
        r->chunks = NULL;
        json_decref(r->documents);
        r->documents = NULL;
}

/* Text. */

char *jinja_reserve(Run *r, Text *t, size_t n) {
        size_t need;
        if (!checked_add(t->len, n, &need) || need > JINJA_MAX_TEXT)
                jinja_fail(r, -E2BIG, "text grows beyond %d MiB", JINJA_MAX_TEXT >> 20);
        if (need > t->cap) {
                size_t cap = MAX(need, t->cap * 2);
                char *data = jinja_alloc(r, cap, 1);
                if (t->len > 0)
                        memcpy(data, t->data, t->len);
                t->data = data;
                t->cap = cap;
        }
        return t->data + t->len;
}

void jinja_put(Run *r, Text *t, const void *data, size_t n) {
        if (n == 0)
                return;
        memcpy(jinja_reserve(r, t, n), data, n);
        t->len += n;
}

void jinja_puts(Run *r, Text *t, const char *s) {
        jinja_put(r, t, s, strlen(s));
}

void jinja_putc(Run *r, Text *t, char c) {
        jinja_put(r, t, &c, 1);
}

void jinja_put_char(Run *r, Text *t, uint32_t c) {
        char b[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 1; c >>= 6)
                b[i] = (char)(0x80 | (c & 0x3f));
        b[0] = (char)(lead[n] | c);
        jinja_put(r, t, b, n);
}

void jinja_printf(Run *r, Text *t, const char *fmt, ...) {
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        char *p = jinja_reserve(r, t, (size_t)n + 1);
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
        t->len += (size_t)n;
}

static Value string_value(Run *r, const char *data, size_t len, Text *room) {
        String *s = jinja_alloc(r, 1, sizeof(*s));
        *s = (String){data, len, room};
        return (Value){.kind = VALUE_STRING, .s = s};
}

Value jinja_text(Run *r, const Text *t) {
        Text *room = jinja_alloc(r, 1, sizeof(*room));
        *room = t->data ? *t : (Text){.data = (char *)""};
        return string_value(r, room->data, room->len, room);
}

Value jinja_string(Run *r, const char *data, size_t len) {
        return string_value(r, data, len, NULL);
}

Value jinja_cstring(Run *r, const char *s) {
        return jinja_string(r, s, strlen(s));
}

/* Text built by x = x + y costs O(total): where `a` is all of its room, the room grows and `a` stays its beginning. */
Value jinja_concat(Run *r, Value a, Value b) {
        if (b.s->len == 0)
                return a;
        Text *room = a.s->room;
        if (!room || room->data != a.s->data || room->len != a.s->len) {
                room = jinja_alloc(r, 1, sizeof(*room));
                jinja_reserve(r, room, a.s->len + b.s->len);
                jinja_put(r, room, a.s->data, a.s->len);
        }
        jinja_put(r, room, b.s->data, b.s->len);
        return string_value(r, room->data, room->len, room);
}

bool jinja_is(const String *s, const char *name) {
        return s && strlen(name) == s->len && memcmp(s->data, name, s->len) == 0;
}

/* The order of code points is the order of UTF-8 bytes. */
int jinja_compare_bytes(Run *r, const String *a, const String *b) {
        size_t n = MIN(a->len, b->len);
        jinja_scan(r, n);
        int c = n > 0 ? memcmp(a->data, b->data, n) : 0;
        return c != 0 ? (c > 0) - (c < 0) : (a->len > b->len) - (a->len < b->len);
}

size_t jinja_count_chars(Run *r, const char *s, size_t n) {
        size_t count = 0;
        jinja_scan(r, n);
        for (size_t i = 0; i < n; i++)
                count += (s[i] & 0xc0) != 0x80;
        return count;
}

size_t jinja_char_offset(Run *r, const String *s, size_t i) {
        size_t at = 0;
        for (; i > 0 && at < s->len; i--)
                for (at++; at < s->len && (s->data[at] & 0xc0) == 0x80; at++)
                        ;
        jinja_scan(r, at);
        return at;
}

uint32_t jinja_next_char(const char **p) {
        const unsigned char *s = (const unsigned char *)*p;
        int more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
        uint32_t c = more == 0 ? s[0] : s[0] & (0x3fu >> more);
        for (int i = 1; i <= more; i++)
                c = c << 6 | (s[i] & 0x3f);
        *p += more + 1;
        return c;
}

bool jinja_is_space(uint32_t c) {
        return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
               (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_stripped(Run *r, uint32_t c, const String *chars) {
        if (!chars)
                return jinja_is_space(c);
        const char *p = chars->data, *end = p + chars->len;
        bool found = false;
        while (p < end && !found)
                found = jinja_next_char(&p) == c;
        jinja_scan(r, (size_t)(p - chars->data));
        return found;
}

Value jinja_strip(Run *r, Value s, const String *chars, bool left, bool right) {
        const char *a = s.s->data, *b = a + s.s->len, *p;
        while (left && a < b && (p = a, is_stripped(r, jinja_next_char(&p), chars)))
                a = p;
        while (right && a < b) {
                for (p = b - 1; (*p & 0xc0) == 0x80; p--)
                        ;
                const char *at = p;
                if (!is_stripped(r, jinja_next_char(&p), chars))
                        break;
                b = at;
        }
        jinja_scan(r, s.s->len - (size_t)(b - a));
        Value v = jinja_string(r, a, (size_t)(b - a));
        v.safe = s.safe;
        return v;
}

size_t jinja_find(Run *r, const String *s, const String *sub, size_t from) {
        if (from > s->len)
                return SIZE_MAX;
        if (sub->len == 0)
                return from;
        const char *p = memmem(s->data + from, s->len - from, sub->data, sub->len);
        size_t at = p ? (size_t)(p - s->data) : SIZE_MAX;
        jinja_scan(r, p ? at - from : s->len - from);
        return at;
}

/* Values. */

Value jinja_undefined(const String *name) {
        return (Value){.kind = VALUE_UNDEFINED, .s = name};
}

Value jinja_none(void) {
        return (Value){.kind = VALUE_NONE};
}

Value jinja_bool(bool b) {
        return (Value){.kind = VALUE_BOOL, .b = b};
}

Value jinja_int(int64_t i) {
        return (Value){.kind = VALUE_INT, .i = i};
}

Value jinja_float(double f) {
        return (Value){.kind = VALUE_FLOAT, .f = f};
}

Value jinja_list(Run *r, size_t room) {
        List *l = jinja_alloc(r, 1, sizeof(*l));
        *l = (List){.items = jinja_alloc(r, room, sizeof(Value)), .cap = room};
        return (Value){.kind = VALUE_LIST, .list = l};
}

Value jinja_tuple(Run *r, size_t n, const Value *items) {
        Value v = jinja_list(r, n);
        v.kind = VALUE_TUPLE;
        for (size_t i = 0; i < n; i++)
                jinja_append(r, v, items[i]);
        return v;
}

Value jinja_dict(Run *r) {
        return (Value){.kind = VALUE_DICT, .dict = jinja_alloc(r, 1, sizeof(Dict))};
}

Value jinja_function(Run *r, const Builtin *b, Value self) {
        Function *f = jinja_alloc(r, 1, sizeof(*f));
        *f = (Function){b, self};
        return (Value){.kind = VALUE_FUNCTION, .function = f};
}

void jinja_append(Run *r, Value list, Value item) {
        List *l = list.list;
        jinja_charge(r, 1);
        if (l->n == l->cap) {
                size_t cap = MAX(l->cap * 2, (size_t)4);
                Value *items = jinja_alloc(r, cap, sizeof(*items));
                if (l->n > 0)
                        memcpy(items, l->items, l->n * sizeof(*items));
                l->items = items;
                l->cap = cap;
        }
        l->items[l->n++] = item;
}

bool jinja_same(Run *r, const String *a, const String *b) {
        return a->len == b->len && jinja_compare_bytes(r, a, b) == 0;
}

Value jinja_sub_list(Run *r, Value v, size_t from, size_t n) {
        Value part = jinja_list(r, 0);
        *part.list = (List){.items = v.list->items + from, .n = n, .cap = n};
        return part;
}

Value *jinja_get_name(Run *r, const Dict *d, const String *name) {
        jinja_charge(r, d->n / 16);
        for (size_t i = 0; i < d->n; i++)
                if (d->entries[i].key.kind == VALUE_STRING && jinja_same(r, d->entries[i].key.s, name))
                        return &d->entries[i].value;
        return NULL;
}

Value *jinja_get(Run *r, const Dict *d, Value key) {
        if (key.kind == VALUE_STRING)
                return jinja_get_name(r, d, key.s);
        for (size_t i = 0; i < d->n; i++)
                if (jinja_equal(r, d->entries[i].key, key))
                        return &d->entries[i].value;
        return NULL;
}

void jinja_set(Run *r, Dict *d, Value key, Value value) {
        if (key.kind == VALUE_LIST || key.kind == VALUE_DICT)
                jinja_fail(r, -EINVAL, "unhashable type: '%s'", jinja_kind(key));
        Value *old = jinja_get(r, d, key);
        if (old) {
                *old = value;
                return;
        }
        if (d->n == d->cap) {
                size_t cap = MAX(d->cap * 2, (size_t)4);
                DictEntry *entries = jinja_alloc(r, cap, sizeof(*entries));
                if (d->n > 0)
                        memcpy(entries, d->entries, d->n * sizeof(*entries));
                d->entries = entries;
                d->cap = cap;
        }
        d->entries[d->n++] = (DictEntry){key, value};
}

bool jinja_del(Run *r, Dict *d, Value key) {
        Value *v = jinja_get(r, d, key);
        if (!v)
                return false;
        DictEntry *e = container_of(v, DictEntry, value);
        memmove(e, e + 1, (size_t)(d->entries + d->n - (e + 1)) * sizeof(*e));
        d->n--;
        return true;
}

bool jinja_truthy(Value v) {
        switch (v.kind) {
        case VALUE_ABSENT:
        case VALUE_UNDEFINED:
        case VALUE_NONE:
                return false;
        case VALUE_BOOL:
                return v.b;
        case VALUE_INT:
                return v.i != 0;
        case VALUE_FLOAT:
                return v.f != 0;
        case VALUE_STRING:
                return v.s->len > 0;
        case VALUE_LIST:
        case VALUE_TUPLE:
                return v.list->n > 0 || v.list->lazy;
        case VALUE_DICT:
                return v.dict->n > 0;
        default:
                return true;
        }
}

bool jinja_is_number(Value v) {
        return v.kind == VALUE_BOOL || v.kind == VALUE_INT || v.kind == VALUE_FLOAT;
}

bool jinja_is_sequence(Value v) {
        return v.kind == VALUE_LIST || v.kind == VALUE_TUPLE;
}

bool jinja_as_int(Value v, int64_t *ret) {
        if (v.kind != VALUE_BOOL && v.kind != VALUE_INT)
                return false;
        *ret = v.kind == VALUE_BOOL ? v.b : v.i;
        return true;
}

double jinja_as_float(Value v) {
        return v.kind == VALUE_FLOAT ? v.f : v.kind == VALUE_INT ? (double)v.i : v.b;
}

const char *jinja_kind(Value v) {
        static const char *const names[] = {
                [VALUE_ABSENT] = "nothing",  [VALUE_UNDEFINED] = "undefined", [VALUE_NONE] = "NoneType",
                [VALUE_BOOL] = "bool",       [VALUE_INT] = "int",             [VALUE_FLOAT] = "float",
                [VALUE_STRING] = "str",      [VALUE_LIST] = "list",           [VALUE_TUPLE] = "tuple",
                [VALUE_DICT] = "dict",       [VALUE_NAMESPACE] = "namespace", [VALUE_LOOP] = "loop",
                [VALUE_MACRO] = "macro",     [VALUE_FUNCTION] = "function",
        };
        return names[v.kind];
}

static int order_numbers(Value a, Value b) {
        int64_t x, y;
        if (jinja_as_int(a, &x) && jinja_as_int(b, &y))
                return (x > y) - (x < y);
        double f = jinja_as_float(a), g = jinja_as_float(b);
        return (f > g) - (f < g);
}

static bool equal_lists(Run *r, const List *a, const List *b) {
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!jinja_equal(r, a->items[i], b->items[i]))
                        return false;
        return true;
}

static bool equal_dicts(Run *r, const Dict *a, const Dict *b) {
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                const Value *v = jinja_get(r, b, a->entries[i].key);
                if (!v || !jinja_equal(r, a->entries[i].value, *v))
                        return false;
        }
        return true;
}

static bool equal_inside(Run *r, Value a, Value b) {
        switch (a.kind) {
        case VALUE_STRING:
                return jinja_same(r, a.s, b.s);
        case VALUE_LIST:
        case VALUE_TUPLE:
                return equal_lists(r, a.list, b.list);
        case VALUE_DICT:
                return equal_dicts(r, a.dict, b.dict);
        case VALUE_NAMESPACE:
        case VALUE_LOOP:
        case VALUE_MACRO:
        case VALUE_FUNCTION:
                return a.dict == b.dict;
        default:
                return true; /* none is none, undefined is undefined */
        }
}

bool jinja_equal(Run *r, Value a, Value b) {
        jinja_charge(r, 1);
        if (jinja_is_number(a) && jinja_is_number(b))
                return a.kind == VALUE_FLOAT || b.kind == VALUE_FLOAT ? jinja_as_float(a) == jinja_as_float(b)
                                                                      : order_numbers(a, b) == 0;
        if (a.kind != b.kind)
                return false;
        jinja_enter(r);
        bool equal = equal_inside(r, a, b);
        jinja_leave(r);
        return equal;
}

static int order_lists(Run *r, const List *a, const List *b) {
        for (size_t i = 0; i < a->n && i < b->n; i++)
                if (!jinja_equal(r, a->items[i], b->items[i]))
                        return jinja_order(r, a->items[i], b->items[i]);
        return (a->n > b->n) - (a->n < b->n);
}

int jinja_order(Run *r, Value a, Value b) {
        int order = 0;
        jinja_enter(r);
        if (jinja_is_number(a) && jinja_is_number(b))
                order = order_numbers(a, b);
        else if (a.kind == VALUE_STRING && b.kind == VALUE_STRING)
                order = jinja_compare_bytes(r, a.s, b.s);
        else if (a.kind == b.kind && jinja_is_sequence(a))
                order = order_lists(r, a.list, b.list);
        else
                jinja_fail(r, -EINVAL, "%s and %s have no order", jinja_kind(a), jinja_kind(b));
        jinja_leave(r);
        return order;
}

bool jinja_contains(Run *r, Value container, Value item) {
        switch (container.kind) {
        case VALUE_UNDEFINED:
                return false;
        case VALUE_STRING:
                if (item.kind == VALUE_UNDEFINED)
                        return false;
                return jinja_find(r, container.s, jinja_need_string(r, item, "what is looked for in a string"), 0) !=
                       SIZE_MAX;
        case VALUE_LIST:
        case VALUE_TUPLE:
                for (size_t i = 0; i < container.list->n; i++)
                        if (jinja_equal(r, container.list->items[i], item))
                                return true;
                return false;
        case VALUE_DICT:
                return jinja_get(r, container.dict, item);
        default:
                jinja_fail(r, -EINVAL, "a %s contains nothing that could be looked for", jinja_kind(container));
        }
}

size_t jinja_length(Run *r, Value v) {
        switch (v.kind) {
        case VALUE_UNDEFINED:
                return 0;
        case VALUE_STRING:
                return jinja_count_chars(r, v.s->data, v.s->len);
        case VALUE_LIST:
        case VALUE_TUPLE:
                return v.list->n;
        case VALUE_DICT:
                return v.dict->n;
        default:
                jinja_fail(r, -EINVAL, "a %s has no length", jinja_kind(v));
        }
}

static Value list_of_chars(Run *r, const String *s) {
        Value l = jinja_list(r, jinja_count_chars(r, s->data, s->len));
        for (const char *p = s->data, *at = p; p < s->data + s->len; at = p) {
                jinja_next_char(&p);
                jinja_append(r, l, jinja_string(r, at, (size_t)(p - at)));
        }
        return l;
}

Value jinja_iterate(Run *r, Value v) {
        Value l;
        switch (v.kind) {
        case VALUE_UNDEFINED:
                return jinja_list(r, 0);
        case VALUE_STRING:
                return list_of_chars(r, v.s);
        case VALUE_LIST:
        case VALUE_TUPLE:
                return jinja_sub_list(r, v, 0, v.list->n);
        case VALUE_DICT:
                l = jinja_list(r, v.dict->n);
                for (size_t i = 0; i < v.dict->n; i++)
                        jinja_append(r, l, v.dict->entries[i].key);
                return l;
        default:
                jinja_fail(r, -EINVAL, "a %s cannot be iterated over", jinja_kind(v));
        }
}

void jinja_need_defined(Run *r, Value v) {
        if (v.kind == VALUE_UNDEFINED && v.s)
                jinja_fail(r, -EINVAL, "'%.*s' is undefined", (int)MIN(v.s->len, (size_t)100), v.s->data);
        if (v.kind == VALUE_UNDEFINED)
                jinja_fail(r, -EINVAL, "a value is undefined");
}

int64_t jinja_need_int(Run *r, Value v, const char *what) {
        int64_t i = 0;
        jinja_need_defined(r, v);
        if (!jinja_as_int(v, &i))
                jinja_fail(r, -EINVAL, "%s must be an int, not %s", what, jinja_kind(v));
        return i;
}

const String *jinja_need_string(Run *r, Value v, const char *what) {
        jinja_need_defined(r, v);
        if (v.kind != VALUE_STRING)
                jinja_fail(r, -EINVAL, "%s must be a string, not %s", what, jinja_kind(v));
        return v.s;
}

/* Sorting: a stable merge sort on keys, as Python's is stable also in reverse. Equal keys need no order. */

typedef struct Keyed {
        Value key, item;
} Keyed;

static bool comes_after(Run *r, const Keyed *a, const Keyed *b, bool reverse) {
        if (jinja_equal(r, a->key, b->key))
                return false;
        int order = jinja_order(r, a->key, b->key);
        return reverse ? order < 0 : order > 0;
}

static void merge_sort(Run *r, Keyed *a, Keyed *scratch, size_t n, bool reverse) {
        if (n < 2)
                return;
        size_t half = n / 2, i = 0, j = half, k = 0;
        merge_sort(r, a, scratch, half, reverse);
        merge_sort(r, a + half, scratch, n - half, reverse);
        while (i < half && j < n)
                scratch[k++] = comes_after(r, &a[i], &a[j], reverse) ? a[j++] : a[i++];
        while (i < half)
                scratch[k++] = a[i++];
        memcpy(a, scratch, k * sizeof(*a));
}

Value jinja_sort(Run *r, Value list, bool reverse, Value (*key)(Run *r, Value item, const void *arg), const void *arg) {
        size_t n = list.list->n;
        Keyed *a = jinja_alloc(r, n, sizeof(*a)), *scratch = jinja_alloc(r, n, sizeof(*a));
        for (size_t i = 0; i < n; i++)
                a[i] = (Keyed){key(r, list.list->items[i], arg), list.list->items[i]};
        merge_sort(r, a, scratch, n, reverse);
        Value sorted = jinja_list(r, n);
        for (size_t i = 0; i < n; i++)
                jinja_append(r, sorted, a[i].item);
        return sorted;
}
