/* How values become text: Python's str() and repr(), json.dumps(), HTML escapes; and JSON into values.
 *
 * Nesting is bounded by the Run's depth, so a list that contains itself ends in an error. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja.h"

/* Python's repr(float): the fewest digits that read back as the same number; with an exponent below 1e-4 and from
 * 1e16 on. */
static void put_float(Run *r, Text *t, double f, const char *nan, const char *inf) {
        char s[40];
        if (!isfinite(f)) {
                jinja_printf(r, t, "%s%s", signbit(f) && isinf(f) ? "-" : "", isnan(f) ? nan : inf);
                return;
        }
        int precision = 0;
        do
                snprintf(s, sizeof(s), "%.*e", precision, f);
        while (strtod(s, NULL) != f && precision++ < 17);
        int exponent = atoi(strchr(s, 'e') + 1);
        if (exponent < -4 || exponent >= 16)
                jinja_puts(r, t, s);
        else if (precision <= exponent)
                jinja_printf(r, t, "%.1f", f);
        else
                jinja_printf(r, t, "%.*f", precision - exponent, f);
}

/* Python's str.isprintable(). */
static bool is_printable(uint32_t c) {
        switch (utf8proc_category((utf8proc_int32_t)c)) {
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
                return false;
        case UTF8PROC_CATEGORY_ZS:
                return c == ' ';
        default:
                return true;
        }
}

static void put_repr_char(Run *r, Text *t, uint32_t c, char quote) {
        if (c == (uint32_t)quote || c == '\\')
                jinja_printf(r, t, "\\%c", (int)c);
        else if (c == '\n' || c == '\r' || c == '\t')
                jinja_puts(r, t, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (is_printable(c))
                jinja_put_char(r, t, c);
        else
                jinja_printf(r, t, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static void put_repr_string(Run *r, Text *t, const String *s) {
        char quote = s->len > 0 && memchr(s->data, '\'', s->len) && !memchr(s->data, '"', s->len) ? '"' : '\'';
        jinja_scan(r, s->len);
        jinja_putc(r, t, quote);
        for (const char *p = s->data; p < s->data + s->len;)
                put_repr_char(r, t, jinja_next_char(&p), quote);
        jinja_putc(r, t, quote);
}

static void put_repr_list(Run *r, Text *t, const List *l) {
        for (size_t i = 0; i < l->n; i++) {
                jinja_puts(r, t, i > 0 ? ", " : "");
                jinja_put_repr(r, t, l->items[i]);
        }
}

static void put_repr_dict(Run *r, Text *t, const Dict *d) {
        for (size_t i = 0; i < d->n; i++) {
                jinja_puts(r, t, i > 0 ? ", " : "");
                jinja_put_repr(r, t, d->entries[i].key);
                jinja_puts(r, t, ": ");
                jinja_put_repr(r, t, d->entries[i].value);
        }
}

static void put_repr_inside(Run *r, Text *t, Value v) {
        switch (v.kind) {
        case VALUE_ABSENT:
        case VALUE_UNDEFINED:
                jinja_puts(r, t, "Undefined");
                break;
        case VALUE_NONE:
                jinja_puts(r, t, "None");
                break;
        case VALUE_BOOL:
                jinja_puts(r, t, v.b ? "True" : "False");
                break;
        case VALUE_INT:
                jinja_printf(r, t, "%lld", (long long)v.i);
                break;
        case VALUE_FLOAT:
                put_float(r, t, v.f, "nan", "inf");
                break;
        case VALUE_STRING:
                if (v.safe)
                        jinja_puts(r, t, "Markup(");
                put_repr_string(r, t, v.s);
                jinja_puts(r, t, v.safe ? ")" : "");
                break;
        case VALUE_LIST:
                jinja_putc(r, t, '[');
                put_repr_list(r, t, v.list);
                jinja_putc(r, t, ']');
                break;
        case VALUE_TUPLE:
                jinja_putc(r, t, '(');
                put_repr_list(r, t, v.list);
                jinja_puts(r, t, v.list->n == 1 ? ",)" : ")");
                break;
        case VALUE_DICT:
        case VALUE_NAMESPACE:
                jinja_puts(r, t, v.kind == VALUE_DICT ? "{" : "<Namespace {");
                put_repr_dict(r, t, v.dict);
                jinja_puts(r, t, v.kind == VALUE_DICT ? "}" : "}>");
                break;
        default:
                jinja_printf(r, t, "<%s>", jinja_kind(v));
        }
}

void jinja_put_repr(Run *r, Text *t, Value v) {
        jinja_enter(r);
        put_repr_inside(r, t, v);
        jinja_leave(r);
}

void jinja_put_str(Run *r, Text *t, Value v) {
        if (v.kind == VALUE_STRING)
                jinja_put(r, t, v.s->data, v.s->len);
        else if (v.kind != VALUE_UNDEFINED)
                jinja_put_repr(r, t, v);
}

Value jinja_str(Run *r, Value v) {
        if (v.kind == VALUE_STRING)
                return v;
        Text t = {0};
        jinja_put_str(r, &t, v);
        return jinja_text(r, &t);
}

Value jinja_escape(Run *r, Value v) {
        Value s = jinja_str(r, v);
        if (!s.safe) {
                Text t = {0};
                for (size_t i = 0; i < s.s->len; i++) {
                        char c = s.s->data[i];
                        const char *e = c == '&'    ? "&amp;"
                                        : c == '<'  ? "&lt;"
                                        : c == '>'  ? "&gt;"
                                        : c == '\'' ? "&#39;"
                                        : c == '"'  ? "&#34;"
                                                    : NULL;
                        jinja_put(r, &t, e ? e : &c, e ? strlen(e) : 1);
                }
                jinja_scan(r, s.s->len);
                s = jinja_text(r, &t);
        }
        s.safe = true;
        return s;
}

/* JSON, as json.dumps() writes it. */

static void put_json_char(Run *r, Text *t, uint32_t c, bool ensure_ascii) {
        static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *p = c != 0 && c < 0x80 ? strchr(named, (int)c) : NULL;
        if (p)
                jinja_printf(r, t, "\\%c", letters[p - named]);
        else if (c >= 0x10000 && ensure_ascii)
                jinja_printf(r, t, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
        else if (c < 0x20 || (c >= 0x7f && ensure_ascii))
                jinja_printf(r, t, c == 0x7f ? "%c" : "\\u%04x", c);
        else
                jinja_put_char(r, t, c);
}

static void put_json_string(Run *r, Text *t, const String *s, bool ensure_ascii) {
        jinja_scan(r, s->len);
        jinja_putc(r, t, '"');
        for (const char *p = s->data; p < s->data + s->len;)
                put_json_char(r, t, jinja_next_char(&p), ensure_ascii);
        jinja_putc(r, t, '"');
}

typedef struct JsonWriter {
        Run *r;
        Text *t;
        const JsonStyle *style;
        size_t level;
} JsonWriter;

static void put_json(JsonWriter *w, Value v);

static void put_json_line(JsonWriter *w) {
        if (!w->style->indent)
                return;
        jinja_putc(w->r, w->t, '\n');
        for (size_t i = 0; i < w->level; i++)
                jinja_put(w->r, w->t, w->style->indent->data, w->style->indent->len);
}

static void put_json_list(JsonWriter *w, const List *l) {
        jinja_putc(w->r, w->t, '[');
        w->level++;
        for (size_t i = 0; i < l->n; i++) {
                if (i > 0)
                        jinja_put(w->r, w->t, w->style->item_separator->data, w->style->item_separator->len);
                put_json_line(w);
                put_json(w, l->items[i]);
        }
        w->level--;
        if (l->n > 0)
                put_json_line(w);
        jinja_putc(w->r, w->t, ']');
}

static void put_json_key(JsonWriter *w, Value key) {
        if (key.kind == VALUE_STRING) {
                put_json(w, key);
                return;
        }
        if (!jinja_is_number(key) && key.kind != VALUE_NONE)
                jinja_fail(w->r, -EINVAL, "a %s cannot be a key in JSON", jinja_kind(key));
        jinja_putc(w->r, w->t, '"');
        put_json(w, key);
        jinja_putc(w->r, w->t, '"');
}

static Value key_of_item(Run *r, Value item, const void *arg) {
        return item.list->items[0];
}

static void put_json_dict(JsonWriter *w, Value dict) {
        Value items = jinja_items(w->r, dict, NULL);
        if (w->style->sort_keys)
                items = jinja_sort(w->r, items, false, key_of_item, NULL);
        jinja_putc(w->r, w->t, '{');
        w->level++;
        for (size_t i = 0; i < items.list->n; i++) {
                const Value *pair = items.list->items[i].list->items;
                if (i > 0)
                        jinja_put(w->r, w->t, w->style->item_separator->data, w->style->item_separator->len);
                put_json_line(w);
                put_json_key(w, pair[0]);
                jinja_put(w->r, w->t, w->style->key_separator->data, w->style->key_separator->len);
                put_json(w, pair[1]);
        }
        w->level--;
        if (items.list->n > 0)
                put_json_line(w);
        jinja_putc(w->r, w->t, '}');
}

static void put_json(JsonWriter *w, Value v) {
        jinja_enter(w->r);
        switch (v.kind) {
        case VALUE_UNDEFINED:
        case VALUE_NONE:
                jinja_puts(w->r, w->t, "null");
                break;
        case VALUE_BOOL:
                jinja_puts(w->r, w->t, v.b ? "true" : "false");
                break;
        case VALUE_INT:
                jinja_put_repr(w->r, w->t, v);
                break;
        case VALUE_FLOAT:
                put_float(w->r, w->t, v.f, "NaN", "Infinity");
                break;
        case VALUE_STRING:
                put_json_string(w->r, w->t, v.s, w->style->ensure_ascii);
                break;
        case VALUE_LIST:
        case VALUE_TUPLE:
                put_json_list(w, v.list);
                break;
        case VALUE_DICT:
                put_json_dict(w, v);
                break;
        default:
                jinja_fail(w->r, -EINVAL, "a %s cannot be written as JSON", jinja_kind(v));
        }
        jinja_leave(w->r);
}

void jinja_put_json(Run *r, Text *t, Value v, const JsonStyle *style) {
        put_json(&(JsonWriter){r, t, style, 0}, v);
}

static Value list_from_json(Run *r, const json_t *j) {
        Value list = jinja_list(r, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j); i++)
                jinja_append(r, list, jinja_from_json(r, json_array_get(j, i)));
        return list;
}

/* The keys of a JSON object are known to differ, and are not looked up. */
static Value dict_from_json(Run *r, const json_t *j) {
        Value dict = jinja_dict(r);
        Dict *d = dict.dict;
        const char *key;
        json_t *value;
        d->cap = json_object_size(j);
        d->entries = jinja_alloc(r, d->cap, sizeof(*d->entries));
        json_object_foreach((json_t *)j, key, value)
                d->entries[d->n++] = (DictEntry){jinja_cstring(r, key), jinja_from_json(r, value)};
        return dict;
}

Value jinja_from_json(Run *r, const json_t *j) {
        Value v = jinja_none();
        jinja_enter(r);
        switch (json_typeof(j)) {
        case JSON_OBJECT:
                v = dict_from_json(r, j);
                break;
        case JSON_ARRAY:
                v = list_from_json(r, j);
                break;
        case JSON_STRING:
                v = jinja_string(r, json_string_value(j), json_string_length(j));
                break;
        case JSON_INTEGER:
                v = jinja_int(json_integer_value(j));
                break;
        case JSON_REAL:
                v = jinja_float(json_real_value(j));
                break;
        case JSON_TRUE:
        case JSON_FALSE:
                v = jinja_bool(json_is_true(j));
                break;
        case JSON_NULL:
                break;
        }
        jinja_leave(r);
        return v;
}

/* The document is kept until the Run ends: its strings are pointed to, and a failure must not leak it. */
Value jinja_parse_json(Run *r, const String *s) {
        jinja_scan(r, s->len);
        if (!r->documents)
                r->documents = json_array();
        json_t *j = json_loadb(s->data, s->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (!j || json_array_append_new(r->documents, j) < 0)
                jinja_fail(r, -EINVAL, "from_json was given no valid JSON");
        r->memory += s->len * 16; /* about what jansson takes for it */
        return jinja_from_json(r, j);
}
