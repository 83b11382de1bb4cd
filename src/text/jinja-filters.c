/* The filters and tests of Jinja2, one table each. `tojson` is json.dumps() as transformers has it. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja.h"

static bool given(Value v) {
        return v.kind != VALUE_ABSENT && v.kind != VALUE_NONE;
}

static int64_t int_or(Run *r, Value v, int64_t standard) {
        return given(v) ? jinja_need_int(r, v, "the argument") : standard;
}

/* A list that in Python is a generator. */
static Value lazy_list(Run *r) {
        Value list = jinja_list(r, 0);
        list.list->lazy = true;
        return list;
}

/* Attributes and keys. */

/* The part of `item` that a path like "function.name" or "0.name", or a number, leads to. */
static Value follow(Run *r, Value item, Value path) {
        if (path.kind != VALUE_STRING)
                return jinja_item(r, item, path);
        const char *p = path.s->data, *end = p + path.s->len;
        for (;;) {
                const char *dot = p < end ? memchr(p, '.', (size_t)(end - p)) : NULL;
                Value name = jinja_string(r, p, (size_t)((dot ? dot : end) - p));
                bool digits = name.s->len > 0 && name.s->len < 10;
                int64_t number = 0;
                for (size_t i = 0; i < name.s->len && digits; i++) {
                        digits = p[i] >= '0' && p[i] <= '9';
                        number = number * 10 + (p[i] - '0');
                }
                item = jinja_item(r, item, digits ? jinja_int(number) : name);
                if (!dot)
                        return item;
                p = dot + 1;
        }
}

typedef struct KeySpec { /* what to compare items by */
        Value attribute;   /* a path or several, separated by commas; absent: the item itself */
        bool case_sensitive;
} KeySpec;

static Value fold_case(Run *r, const KeySpec *spec, Value v) {
        return v.kind == VALUE_STRING && !spec->case_sensitive ? jinja_lower(r, v, NULL) : v;
}

static Value sort_key(Run *r, Value item, const void *arg) {
        const KeySpec *spec = arg;
        if (!given(spec->attribute))
                return fold_case(r, spec, item);
        if (spec->attribute.kind != VALUE_STRING || !memchr(spec->attribute.s->data, ',', spec->attribute.s->len))
                return fold_case(r, spec, follow(r, item, spec->attribute));
        Value keys = jinja_list(r, 0);
        const char *p = spec->attribute.s->data, *end = p + spec->attribute.s->len;
        for (const char *comma; p <= end; p = comma + 1) {
                comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL;
                comma = comma ? comma : end;
                jinja_append(r, keys, fold_case(r, spec, follow(r, item, jinja_string(r, p, (size_t)(comma - p)))));
        }
        return keys;
}

/* Sequences. */

static Value filter_list(Run *r, Value self, const Args *a) {
        return jinja_iterate(r, self);
}

static Value filter_length(Run *r, Value self, const Args *a) {
        return jinja_int((int64_t)jinja_length(r, self));
}

static Value filter_first(Run *r, Value self, const Args *a) {
        Value items = jinja_iterate(r, self);
        return items.list->n > 0 ? items.list->items[0] : jinja_undefined(NULL);
}

static Value filter_last(Run *r, Value self, const Args *a) {
        Value items = jinja_iterate(r, self);
        return items.list->n > 0 ? items.list->items[items.list->n - 1] : jinja_undefined(NULL);
}

static Value filter_reverse(Run *r, Value self, const Args *a) {
        if (self.kind == VALUE_STRING)
                return jinja_slice(r, self, jinja_none(), jinja_none(), jinja_int(-1));
        Value items = jinja_iterate(r, self), reversed = lazy_list(r);
        for (size_t i = items.list->n; i-- > 0;)
                jinja_append(r, reversed, items.list->items[i]);
        return reversed;
}

static Value filter_join(Run *r, Value self, const Args *a) {
        Value items = jinja_iterate(r, self);
        Text t = {0};
        for (size_t i = 0; i < items.list->n; i++) {
                Value v = items.list->items[i];
                if (i > 0 && given(a->v[0]))
                        jinja_put_str(r, &t, a->v[0]);
                jinja_put_str(r, &t, given(a->v[1]) ? follow(r, v, a->v[1]) : v);
        }
        return jinja_text(r, &t);
}

static Value filter_sort(Run *r, Value self, const Args *a) {
        const KeySpec spec = {a->v[2], jinja_truthy(a->v[1])};
        return jinja_sort(r, jinja_iterate(r, self), jinja_truthy(a->v[0]), sort_key, &spec);
}

static Value entry_key(Run *r, Value item, const void *arg) {
        const KeySpec *spec = arg;
        return fold_case(r, spec, jinja_item(r, item, spec->attribute));
}

static Value filter_dictsort(Run *r, Value self, const Args *a) {
        bool by_value = given(a->v[1]) && jinja_is(jinja_need_string(r, a->v[1], "by"), "value");
        const KeySpec spec = {jinja_int(by_value), jinja_truthy(a->v[0])};
        jinja_need_defined(r, self);
        return jinja_sort(r, jinja_items(r, self, NULL), jinja_truthy(a->v[2]), entry_key, &spec);
}

static Value filter_unique(Run *r, Value self, const Args *a) {
        const KeySpec spec = {a->v[1], jinja_truthy(a->v[0])};
        Value items = jinja_iterate(r, self), seen = jinja_dict(r), kept = lazy_list(r);
        for (size_t i = 0; i < items.list->n; i++) {
                Value key = sort_key(r, items.list->items[i], &spec);
                if (!jinja_get(r, seen.dict, key)) {
                        jinja_set(r, seen.dict, key, jinja_none());
                        jinja_append(r, kept, items.list->items[i]);
                }
        }
        return kept;
}

static Value extreme(Run *r, Value self, const Args *a, int sign) {
        const KeySpec spec = {a->v[1], jinja_truthy(a->v[0])};
        Value items = jinja_iterate(r, self);
        if (items.list->n == 0)
                return jinja_undefined(NULL);
        Value best = items.list->items[0], best_key = sort_key(r, best, &spec);
        for (size_t i = 1; i < items.list->n; i++) {
                Value key = sort_key(r, items.list->items[i], &spec);
                if (jinja_order(r, key, best_key) * sign > 0) {
                        best = items.list->items[i];
                        best_key = key;
                }
        }
        return best;
}

static Value filter_max(Run *r, Value self, const Args *a) {
        return extreme(r, self, a, 1);
}

static Value filter_min(Run *r, Value self, const Args *a) {
        return extreme(r, self, a, -1);
}

static Value filter_sum(Run *r, Value self, const Args *a) {
        Value items = jinja_iterate(r, self), sum = given(a->v[1]) ? a->v[1] : jinja_int(0);
        for (size_t i = 0; i < items.list->n; i++) {
                Value v = items.list->items[i];
                sum = jinja_arithmetic(r, OP_ADD, sum, given(a->v[0]) ? follow(r, v, a->v[0]) : v);
        }
        return sum;
}

/* Lists of `n` items each; the last is filled up when there is something to fill it with. */
static Value filter_batch(Run *r, Value self, const Args *a) {
        int64_t n = jinja_need_int(r, a->v[0], "the size of a batch");
        Value items = jinja_iterate(r, self), batches = lazy_list(r), batch = jinja_none();
        if (n < 1)
                jinja_fail(r, -EINVAL, "a batch needs at least one item");
        for (size_t i = 0; i < items.list->n; i++) {
                if (i % (size_t)n == 0)
                        jinja_append(r, batches, batch = jinja_list(r, 0));
                jinja_append(r, batch, items.list->items[i]);
        }
        while (given(a->v[1]) && batch.kind == VALUE_LIST && batch.list->n < (size_t)n)
                jinja_append(r, batch, a->v[1]);
        return batches;
}

/* Pairs of a value and the items that have it, in order of the values. */
static Value filter_groupby(Run *r, Value self, const Args *a) {
        const KeySpec spec = {a->v[0], jinja_truthy(a->v[2])};
        Value items = jinja_sort(r, jinja_iterate(r, self), false, sort_key, &spec), groups = jinja_list(r, 0);
        Value group = jinja_none(), last = jinja_none();
        for (size_t i = 0; i < items.list->n; i++) {
                Value item = items.list->items[i], key = sort_key(r, item, &spec);
                if (i == 0 || !jinja_equal(r, key, last)) {
                        Value name = follow(r, item, a->v[0]);
                        group = jinja_list(r, 0);
                        if (name.kind == VALUE_UNDEFINED && given(a->v[1]))
                                name = a->v[1];
                        jinja_append(r, groups, jinja_tuple(r, 2, (Value[]){name, group}));
                        last = key;
                }
                jinja_append(r, group, item);
        }
        return groups;
}

/* map, select, reject and their kin: filters that apply another filter or test, named by their first argument. */

/* Over something false, whatever it is, they yield nothing. */
static Value iterate_if_true(Run *r, Value v) {
        return jinja_truthy(v) ? jinja_iterate(r, v) : jinja_list(r, 0);
}

static Args args_from(const Args *a, size_t n) {
        return (Args){a->v + n, a->n - n, a->named, a->n_named};
}

static const Value *named_arg(const Args *a, const char *name) {
        for (size_t i = 0; i < a->n_named; i++)
                if (jinja_is(a->named[i].name, name))
                        return &a->named[i].value;
        return NULL;
}

static const Builtin *need_builtin(Run *r, Value name, const Builtin *(*find)(const String *name), const char *what) {
        const String *s = jinja_need_string(r, name, "the name of a filter or test");
        const Builtin *b = find(s);
        if (!b)
                jinja_fail(r, -EINVAL, "there is no %s '%.*s'", what, (int)MIN(s->len, (size_t)100), s->data);
        return b;
}

static Value filter_map(Run *r, Value self, const Args *a) {
        Value items = iterate_if_true(r, self), mapped = lazy_list(r);
        const Value *attribute = named_arg(a, "attribute"), *standard = named_arg(a, "default");
        if (a->n == 0 && !attribute)
                jinja_fail(r, -EINVAL, "map needs a filter or an attribute");
        const Builtin *b = a->n > 0 ? need_builtin(r, a->v[0], jinja_find_filter, "filter") : NULL;
        for (size_t i = 0; i < items.list->n; i++) {
                Value v = items.list->items[i];
                if (b) {
                        Args rest = args_from(a, 1);
                        v = jinja_call_builtin(r, b, v, &rest);
                } else {
                        v = follow(r, v, *attribute);
                        if (v.kind == VALUE_UNDEFINED && standard)
                                v = *standard;
                }
                jinja_append(r, mapped, v);
        }
        return mapped;
}

/* The items whose truth, or that of their attribute a->v[0], under the test that follows, is `wanted`. */
static Value choose(Run *r, Value self, const Args *a, bool by_attribute, bool wanted) {
        Value items = iterate_if_true(r, self), kept = lazy_list(r);
        if (a->n < by_attribute)
                jinja_fail(r, -EINVAL, "the attribute is missing");
        Args test = args_from(a, by_attribute), rest = test;
        const Builtin *b = test.n > 0 ? need_builtin(r, test.v[0], jinja_find_test, "test") : NULL;
        if (b)
                rest = args_from(&test, 1);
        for (size_t i = 0; i < items.list->n; i++) {
                Value v = by_attribute ? follow(r, items.list->items[i], a->v[0]) : items.list->items[i];
                if (jinja_truthy(b ? jinja_call_builtin(r, b, v, &rest) : v) == wanted)
                        jinja_append(r, kept, items.list->items[i]);
        }
        return kept;
}

static Value filter_select(Run *r, Value self, const Args *a) {
        return choose(r, self, a, false, true);
}

static Value filter_reject(Run *r, Value self, const Args *a) {
        return choose(r, self, a, false, false);
}

static Value filter_selectattr(Run *r, Value self, const Args *a) {
        return choose(r, self, a, true, true);
}

static Value filter_rejectattr(Run *r, Value self, const Args *a) {
        return choose(r, self, a, true, false);
}

/* Numbers. */

static Value filter_abs(Run *r, Value self, const Args *a) {
        if (!jinja_is_number(self))
                jinja_fail(r, -EINVAL, "abs needs a number, not %s", jinja_kind(self));
        if (self.kind == VALUE_FLOAT)
                return jinja_float(fabs(self.f));
        int64_t i = jinja_need_int(r, self, "a number");
        return i < 0 ? jinja_arithmetic(r, OP_SUB, jinja_int(0), self) : jinja_int(i);
}

/* Reads what Python's float() or, with a base, int() would; false when it would refuse. */
static bool parse_number(Run *r, const String *s, int base, Value *ret) {
        char text[400], *end;
        size_t n = 0;
        s = jinja_strip(r, (Value){.kind = VALUE_STRING, .s = s}, NULL, true, true).s;
        if (s->len == 0 || s->len >= sizeof(text) || memchr(s->data, '(', s->len))
                return false;
        if (base != 16 && (memchr(s->data, 'x', s->len) || memchr(s->data, 'X', s->len)))
                return false;
        for (size_t i = 0; i < s->len; i++)
                if (s->data[i] != '_')
                        text[n++] = s->data[i];
        text[n] = 0;
        errno = 0;
        *ret = base == 0 ? jinja_float(strtod(text, &end)) : jinja_int(strtoll(text, &end, base));
        return end > text && *end == 0 && (base == 0 || errno == 0);
}

static bool int_from_float(Run *r, double f, Value *ret) {
        if (!isfinite(f))
                return false;
        if (!(f > -0x1p63 && f < 0x1p63))
                jinja_fail(r, -EINVAL, "the number does not fit into 64 bits");
        *ret = jinja_int((int64_t)f);
        return true;
}

static Value filter_int(Run *r, Value self, const Args *a) {
        Value v = self, standard = a->v[0].kind == VALUE_ABSENT ? jinja_int(0) : a->v[0];
        int64_t i, base = int_or(r, a->v[1], 10);
        jinja_need_defined(r, self);
        if (jinja_as_int(self, &i))
                return jinja_int(i);
        if (self.kind == VALUE_STRING) {
                if (base < 2 || base > 36)
                        jinja_fail(r, -EINVAL, "int's base must be from 2 to 36");
                if (parse_number(r, self.s, (int)base, &v))
                        return v;
                if (!parse_number(r, self.s, 0, &v))
                        return standard;
        }
        return v.kind == VALUE_FLOAT && int_from_float(r, v.f, &v) ? v : standard;
}

static Value filter_float(Run *r, Value self, const Args *a) {
        Value v;
        jinja_need_defined(r, self);
        if (jinja_is_number(self))
                return jinja_float(jinja_as_float(self));
        if (self.kind == VALUE_STRING && parse_number(r, self.s, 0, &v))
                return v;
        return a->v[0].kind == VALUE_ABSENT ? jinja_float(0) : a->v[0];
}

/* Rounds halves to even, as Python does; "ceil" and "floor" round in their direction. */
static Value filter_round(Run *r, Value self, const Args *a) {
        int64_t precision = CLAMP(int_or(r, a->v[0], 0), -300, 300), whole;
        const String *method = given(a->v[1]) ? jinja_need_string(r, a->v[1], "round's method") : NULL;
        char text[720];
        if (!jinja_is_number(self))
                jinja_fail(r, -EINVAL, "round needs a number, not %s", jinja_kind(self));
        double f = jinja_as_float(self), scale = pow(10, (double)precision);
        if (method && jinja_is(method, "ceil"))
                return jinja_float(ceil(f * scale) / scale);
        if (method && jinja_is(method, "floor"))
                return jinja_float(floor(f * scale) / scale);
        if (jinja_as_int(self, &whole) && precision >= 0)
                return jinja_int(whole);
        if (precision < 0)
                return jinja_float(nearbyint(f * scale) / scale);
        snprintf(text, sizeof(text), "%.*f", (int)precision, f);
        return jinja_float(strtod(text, NULL));
}

/* Text. */

static Value filter_string(Run *r, Value self, const Args *a) {
        return jinja_str(r, self);
}

static Value filter_escape(Run *r, Value self, const Args *a) {
        return jinja_escape(r, self);
}

static Value filter_forceescape(Run *r, Value self, const Args *a) {
        Value v = jinja_str(r, self);
        v.safe = false;
        return jinja_escape(r, v);
}

static Value filter_safe(Run *r, Value self, const Args *a) {
        Value v = jinja_str(r, self);
        v.safe = true;
        return v;
}

static bool within_word(uint32_t before) {
        return !jinja_is_space(before) && !(before < 0x80 && strchr("-({[<", (int)before));
}

static Value filter_title(Run *r, Value self, const Args *a) {
        return jinja_title(r, self, within_word);
}

static Value filter_center(Run *r, Value self, const Args *a) {
        return jinja_center(r, self, &(Args){.v = (Value[]){jinja_int(int_or(r, a->v[0], 80)), {0}}, .n = 2});
}

static Value filter_format(Run *r, Value self, const Args *a) {
        const String *format = jinja_need_string(r, self, "a format");
        if (a->n_named == 0)
                return jinja_format_percent(r, format, jinja_tuple(r, a->n, a->v));
        Value values = jinja_dict(r);
        for (size_t i = 0; i < a->n_named; i++)
                jinja_set(r, values.dict, (Value){.kind = VALUE_STRING, .s = a->named[i].name}, a->named[i].value);
        return jinja_format_percent(r, format, values);
}

static bool is_word(uint32_t c) {
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        return c == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
               (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static Value filter_wordcount(Run *r, Value self, const Args *a) {
        const String *s = jinja_str(r, self).s;
        int64_t n = 0;
        bool inside = false;
        jinja_scan(r, s->len);
        for (const char *p = s->data; p < s->data + s->len;) {
                bool word = is_word(jinja_next_char(&p));
                n += word && !inside;
                inside = word;
        }
        return jinja_int(n);
}

/* Every line but the first, and but empty ones, moves to the right; so do those as asked. */
static Value filter_indent(Run *r, Value self, const Args *a) {
        Value width = given(a->v[0]) ? a->v[0] : jinja_int(4);
        jinja_need_defined(r, self);
        Value indent = width.kind == VALUE_STRING ? width : jinja_arithmetic(r, OP_MUL, jinja_cstring(r, " "), width);
        Value lines = jinja_splitlines(r, jinja_concat(r, jinja_str(r, self), jinja_cstring(r, "\n")).s, false);
        Text t = {0};
        for (size_t i = 0; i < lines.list->n; i++) {
                const String *line = lines.list->items[i].s;
                if (i > 0)
                        jinja_putc(r, &t, '\n');
                if (i == 0 ? jinja_truthy(a->v[1]) : line->len > 0 || jinja_truthy(a->v[2]))
                        jinja_put_str(r, &t, indent);
                jinja_put(r, &t, line->data, line->len);
        }
        return jinja_text(r, &t);
}

/* JSON. */

static const String *json_indent(Run *r, Value v) {
        if (!given(v))
                return NULL;
        return v.kind == VALUE_STRING ? v.s : jinja_arithmetic(r, OP_MUL, jinja_cstring(r, " "), v).s;
}

static Value filter_tojson(Run *r, Value self, const Args *a) {
        JsonStyle style = {
                .ensure_ascii = jinja_truthy(a->v[0]),
                .indent = json_indent(r, a->v[1]),
                .key_separator = jinja_cstring(r, ": ").s,
                .sort_keys = jinja_truthy(a->v[3]),
        };
        style.item_separator = jinja_cstring(r, style.indent ? "," : ", ").s;
        if (given(a->v[2])) {
                Value separators = jinja_iterate(r, a->v[2]);
                if (separators.list->n != 2)
                        jinja_fail(r, -EINVAL, "tojson's separators are two strings");
                style.item_separator = jinja_need_string(r, separators.list->items[0], "a separator");
                style.key_separator = jinja_need_string(r, separators.list->items[1], "a separator");
        }
        Text t = {0};
        jinja_put_json(r, &t, self, &style);
        return jinja_text(r, &t);
}

static Value filter_from_json(Run *r, Value self, const Args *a) {
        return jinja_parse_json(r, jinja_need_string(r, self, "what from_json reads"));
}

/* Others. */

static Value filter_default(Run *r, Value self, const Args *a) {
        bool use = self.kind == VALUE_UNDEFINED || (jinja_truthy(a->v[1]) && !jinja_truthy(self));
        return !use ? self : a->v[0].kind == VALUE_ABSENT ? jinja_string(r, "", 0) : a->v[0];
}

/* Unlike `.`, it does not look into dicts. */
static Value filter_attr(Run *r, Value self, const Args *a) {
        const String *name = jinja_need_string(r, a->v[0], "an attribute's name");
        if (self.kind == VALUE_DICT && !jinja_find_method(self, name))
                return jinja_undefined(name);
        return jinja_attribute(r, self, name);
}

static Value filter_items(Run *r, Value self, const Args *a) {
        Value items = jinja_items(r, self, a);
        items.list->lazy = true;
        return items;
}

static const Builtin filters[] = {
        {"abs", "", filter_abs},
        {"attr", "name", filter_attr},
        {"batch", "linecount fill_with?", filter_batch},
        {"capitalize", "", jinja_capitalize},
        {"center", "width?", filter_center},
        {"count", "", filter_length},
        {"d", "default_value? boolean?", filter_default},
        {"default", "default_value? boolean?", filter_default},
        {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
        {"e", "", filter_escape},
        {"escape", "", filter_escape},
        {"first", "", filter_first},
        {"float", "default?", filter_float},
        {"forceescape", "", filter_forceescape},
        {"format", "*", filter_format},
        {"from_json", "", filter_from_json},
        {"groupby", "attribute default? case_sensitive?", filter_groupby},
        {"indent", "width? first? blank?", filter_indent},
        {"int", "default? base?", filter_int},
        {"items", "", filter_items},
        {"join", "d? attribute?", filter_join},
        {"last", "", filter_last},
        {"length", "", filter_length},
        {"list", "", filter_list},
        {"lower", "", jinja_lower},
        {"map", "*", filter_map},
        {"max", "case_sensitive? attribute?", filter_max},
        {"min", "case_sensitive? attribute?", filter_min},
        {"reject", "*", filter_reject},
        {"rejectattr", "*", filter_rejectattr},
        {"replace", "old new count?", jinja_replace},
        {"reverse", "", filter_reverse},
        {"round", "precision? method?", filter_round},
        {"safe", "", filter_safe},
        {"select", "*", filter_select},
        {"selectattr", "*", filter_selectattr},
        {"sort", "reverse? case_sensitive? attribute?", filter_sort},
        {"string", "", filter_string},
        {"sum", "attribute? start?", filter_sum},
        {"title", "", filter_title},
        {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
        {"trim", "chars?", jinja_trim},
        {"unique", "case_sensitive? attribute?", filter_unique},
        {"upper", "", jinja_upper},
        {"wordcount", "", filter_wordcount},
        {0},
};

const Builtin *jinja_find_filter(const String *name) {
        return jinja_find_builtin(filters, name);
}

/* Tests. */

static Value test_defined(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind != VALUE_UNDEFINED);
}

static Value test_undefined(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_UNDEFINED);
}

static Value test_none(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_NONE);
}

static Value test_boolean(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_BOOL);
}

static Value test_true(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_BOOL && self.b);
}

static Value test_false(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_BOOL && !self.b);
}

static Value test_integer(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_INT);
}

static Value test_float(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_FLOAT);
}

static Value test_number(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_is_number(self));
}

static Value test_string(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_STRING);
}

static Value test_mapping(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_DICT);
}

/* What is undefined iterates, over nothing. */
static Value test_iterable(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_UNDEFINED || self.kind == VALUE_STRING || jinja_is_sequence(self) ||
                          self.kind == VALUE_DICT);
}

static Value test_sequence(Run *r, Value self, const Args *a) {
        return jinja_bool(test_iterable(r, self, a).b && !(jinja_is_sequence(self) && self.list->lazy));
}

static Value test_callable(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_MACRO || self.kind == VALUE_FUNCTION || self.kind == VALUE_UNDEFINED);
}

static Value test_lower(Run *r, Value self, const Args *a) {
        return jinja_is_case(r, self, false);
}

static Value test_upper(Run *r, Value self, const Args *a) {
        return jinja_is_case(r, self, true);
}

static Value test_escaped(Run *r, Value self, const Args *a) {
        return jinja_bool(self.kind == VALUE_STRING && self.safe);
}

static Value is_multiple(Run *r, Value self, Value of, int64_t rest) {
        return jinja_bool(jinja_equal(r, jinja_arithmetic(r, OP_MOD, self, of), jinja_int(rest)));
}

static Value test_even(Run *r, Value self, const Args *a) {
        return is_multiple(r, self, jinja_int(2), 0);
}

static Value test_odd(Run *r, Value self, const Args *a) {
        return is_multiple(r, self, jinja_int(2), 1);
}

static Value test_divisibleby(Run *r, Value self, const Args *a) {
        return is_multiple(r, self, a->v[0], 0);
}

static Value test_sameas(Run *r, Value self, const Args *a) {
        bool by_value = jinja_is_number(self) || self.kind == VALUE_STRING || self.kind == VALUE_NONE;
        return jinja_bool(self.kind == a->v[0].kind &&
                          (by_value ? jinja_equal(r, self, a->v[0]) : self.list == a->v[0].list));
}

static Value test_eq(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_EQ, self, a->v[0]));
}

static Value test_ne(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_NE, self, a->v[0]));
}

static Value test_lt(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_LT, self, a->v[0]));
}

static Value test_le(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_LE, self, a->v[0]));
}

static Value test_gt(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_GT, self, a->v[0]));
}

static Value test_ge(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_GE, self, a->v[0]));
}

static Value test_in(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_comparison(r, OP_IN, self, a->v[0]));
}

static Value test_filter(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_find_filter(jinja_need_string(r, self, "a filter's name")));
}

static Value test_test(Run *r, Value self, const Args *a) {
        return jinja_bool(jinja_find_test(jinja_need_string(r, self, "a test's name")));
}

static const Builtin tests[] = {
        {"!=", "other", test_ne},
        {"<", "other", test_lt},
        {"<=", "other", test_le},
        {"==", "other", test_eq},
        {">", "other", test_gt},
        {">=", "other", test_ge},
        {"boolean", "", test_boolean},
        {"callable", "", test_callable},
        {"defined", "", test_defined},
        {"divisibleby", "num", test_divisibleby},
        {"eq", "other", test_eq},
        {"equalto", "other", test_eq},
        {"escaped", "", test_escaped},
        {"even", "", test_even},
        {"false", "", test_false},
        {"filter", "", test_filter},
        {"float", "", test_float},
        {"ge", "other", test_ge},
        {"greaterthan", "other", test_gt},
        {"gt", "other", test_gt},
        {"in", "seq", test_in},
        {"integer", "", test_integer},
        {"iterable", "", test_iterable},
        {"le", "other", test_le},
        {"lessthan", "other", test_lt},
        {"lower", "", test_lower},
        {"lt", "other", test_lt},
        {"mapping", "", test_mapping},
        {"ne", "other", test_ne},
        {"none", "", test_none},
        {"number", "", test_number},
        {"odd", "", test_odd},
        {"sameas", "other", test_sameas},
        {"sequence", "", test_sequence},
        {"string", "", test_string},
        {"test", "", test_test},
        {"true", "", test_true},
        {"undefined", "", test_undefined},
        {"upper", "", test_upper},
        {0},
};

const Builtin *jinja_find_test(const String *name) {
        return jinja_find_builtin(tests, name);
}
