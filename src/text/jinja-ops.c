/* Operators on values, and access to their parts: Python's arithmetic on 64-bit integers (more is an error, not a
 * wrapped number) and floats, its slices, and Jinja2's lookup of attributes. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "text/jinja.h"

static const char *const op_names[] = {
        [OP_ADD] = "+",        [OP_SUB] = "-", [OP_MUL] = "*",  [OP_DIV] = "/",
        [OP_FLOOR_DIV] = "//", [OP_MOD] = "%", [OP_POW] = "**",
};

static void no_such_operation(Run *r, Op op, Value a, Value b) __attribute__((noreturn));
static void no_such_operation(Run *r, Op op, Value a, Value b) {
        jinja_need_defined(r, a);
        jinja_need_defined(r, b);
        jinja_fail(r, -EINVAL, "unsupported operands for %s: %s and %s", op_names[op], jinja_kind(a), jinja_kind(b));
}

static bool power(int64_t base, int64_t exponent, int64_t *ret) {
        int64_t result = 1;
        for (;;) {
                if (exponent & 1 && __builtin_mul_overflow(result, base, &result))
                        return false;
                exponent >>= 1;
                if (exponent == 0)
                        break;
                if (__builtin_mul_overflow(base, base, &base))
                        return false;
        }
        *ret = result;
        return true;
}

/* Division rounds down, and the remainder has the divisor's sign. */
static Value int_arithmetic(Run *r, Op op, int64_t a, int64_t b) {
        int64_t c = 0;
        bool fits = true;
        if ((op == OP_FLOOR_DIV || op == OP_MOD) && b == 0)
                jinja_fail(r, -EINVAL, "division by zero");
        if (op == OP_ADD)
                fits = !__builtin_add_overflow(a, b, &c);
        else if (op == OP_SUB)
                fits = !__builtin_sub_overflow(a, b, &c);
        else if (op == OP_MUL)
                fits = !__builtin_mul_overflow(a, b, &c);
        else if (op == OP_POW)
                fits = power(a, b, &c);
        else if (b == -1)
                fits = op == OP_MOD || !__builtin_sub_overflow(0, a, &c);
        else if (op == OP_FLOOR_DIV)
                c = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
        else
                c = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
        if (!fits)
                jinja_fail(r, -EINVAL, "the result of %s does not fit into 64 bits", op_names[op]);
        return jinja_int(c);
}

static double float_mod(double a, double b) {
        double m = fmod(a, b);
        return m != 0 && (m < 0) != (b < 0) ? m + b : m == 0 ? copysign(0, b) : m;
}

static Value float_arithmetic(Run *r, Op op, double a, double b) {
        if ((op == OP_DIV || op == OP_FLOOR_DIV || op == OP_MOD) && b == 0)
                jinja_fail(r, -EINVAL, "division by zero");
        switch (op) {
        case OP_ADD:
                return jinja_float(a + b);
        case OP_SUB:
                return jinja_float(a - b);
        case OP_MUL:
                return jinja_float(a * b);
        case OP_DIV:
                return jinja_float(a / b);
        case OP_FLOOR_DIV:
                return jinja_float(floor(a / b));
        case OP_MOD:
                return jinja_float(float_mod(a, b));
        default:
                return jinja_float(pow(a, b));
        }
}

static Value numbers(Run *r, Op op, Value a, Value b) {
        int64_t i, j;
        bool whole = jinja_as_int(a, &i) && jinja_as_int(b, &j) && op != OP_DIV && !(op == OP_POW && j < 0);
        return whole ? int_arithmetic(r, op, i, j) : float_arithmetic(r, op, jinja_as_float(a), jinja_as_float(b));
}

static Value add_strings(Run *r, Value a, Value b) {
        if (!a.safe && !b.safe)
                return jinja_concat(r, a, b);
        Value v = jinja_concat(r, jinja_escape(r, a), jinja_escape(r, b));
        v.safe = true;
        return v;
}

static Value add_lists(Run *r, Value a, Value b) {
        Value sum = jinja_list(r, a.list->n + b.list->n);
        sum.kind = a.kind;
        for (size_t i = 0; i < a.list->n; i++)
                jinja_append(r, sum, a.list->items[i]);
        for (size_t i = 0; i < b.list->n; i++)
                jinja_append(r, sum, b.list->items[i]);
        return sum;
}

static Value repeat_string(Run *r, const String *s, int64_t times) {
        Text t = {0};
        size_t n = (size_t)CLAMP(times, 0, JINJA_MAX_TEXT + 1);
        jinja_reserve(r, &t, s->len * n);
        jinja_scan(r, s->len * n);
        for (; n > 0; n--)
                jinja_put(r, &t, s->data, s->len);
        return jinja_text(r, &t);
}

static Value repeat(Run *r, Value v, int64_t times) {
        if (v.kind == VALUE_STRING)
                return repeat_string(r, v.s, v.s->len > 0 ? times : 0);
        Value list = jinja_list(r, 0);
        list.kind = v.kind;
        for (; times > 0 && v.list->n > 0; times--)
                for (size_t i = 0; i < v.list->n; i++)
                        jinja_append(r, list, v.list->items[i]);
        return list;
}

static bool is_repeatable(Value v) {
        return v.kind == VALUE_STRING || jinja_is_sequence(v);
}

Value jinja_arithmetic(Run *r, Op op, Value a, Value b) {
        int64_t times;
        if (jinja_is_number(a) && jinja_is_number(b))
                return numbers(r, op, a, b);
        if (op == OP_ADD && a.kind == VALUE_STRING && b.kind == VALUE_STRING)
                return add_strings(r, a, b);
        if (op == OP_ADD &&
            ((a.kind == VALUE_STRING && jinja_is_number(b)) || (jinja_is_number(a) && b.kind == VALUE_STRING)))
                return add_strings(r, jinja_str(r, a), jinja_str(r, b));
        if (op == OP_ADD && a.kind == b.kind && jinja_is_sequence(a))
                return add_lists(r, a, b);
        if (op == OP_MUL && is_repeatable(a) && jinja_as_int(b, &times))
                return repeat(r, a, times);
        if (op == OP_MUL && is_repeatable(b) && jinja_as_int(a, &times))
                return repeat(r, b, times);
        if (op == OP_MOD && a.kind == VALUE_STRING)
                return jinja_format_percent(r, a.s, b);
        no_such_operation(r, op, a, b);
}

bool jinja_comparison(Run *r, Op op, Value a, Value b) {
        switch (op) {
        case OP_EQ:
                return jinja_equal(r, a, b);
        case OP_NE:
                return !jinja_equal(r, a, b);
        case OP_LT:
                return jinja_order(r, a, b) < 0;
        case OP_LE:
                return jinja_order(r, a, b) <= 0;
        case OP_GT:
                return jinja_order(r, a, b) > 0;
        case OP_GE:
                return jinja_order(r, a, b) >= 0;
        case OP_IN:
                return jinja_contains(r, b, a);
        default:
                return !jinja_contains(r, b, a);
        }
}

/* Access. */

static void need_parts(Run *r, Value v, const String *name) {
        if (v.kind == VALUE_UNDEFINED && v.s)
                jinja_fail(r, -EINVAL, "'%.*s' is undefined, so it has no '%.*s'", (int)MIN(v.s->len, (size_t)100),
                           v.s->data, name ? (int)MIN(name->len, (size_t)100) : 5, name ? name->data : "items");
        if (v.kind == VALUE_UNDEFINED)
                jinja_fail(r, -EINVAL, "an undefined value has no parts");
}

/* object.name: what the object can do comes before what it contains. */
Value jinja_attribute(Run *r, Value v, const String *name) {
        need_parts(r, v, name);
        const Builtin *method = jinja_find_method(v, name);
        if (method)
                return jinja_function(r, method, v);
        const Value *found = NULL;
        if (v.kind == VALUE_DICT || v.kind == VALUE_NAMESPACE)
                found = jinja_get_name(r, v.dict, name);
        if (v.kind == VALUE_LOOP)
                return jinja_loop_attribute(r, v.loop, name);
        return found ? *found : jinja_undefined(name);
}

/* The position of an index that may count from the end; SIZE_MAX when there is none. */
static size_t position(int64_t i, size_t n) {
        if (i < 0)
                i += (int64_t)n;
        return i >= 0 && (uint64_t)i < n ? (size_t)i : SIZE_MAX;
}

static Value char_at(Run *r, const String *s, int64_t i) {
        size_t at = position(i, jinja_count_chars(r, s->data, s->len));
        if (at == SIZE_MAX)
                return jinja_undefined(NULL);
        const char *p = s->data + jinja_char_offset(r, s, at), *end = p;
        jinja_next_char(&end);
        return jinja_string(r, p, (size_t)(end - p));
}

/* object[key]: what it contains comes before what it can do. */
Value jinja_item(Run *r, Value v, Value key) {
        int64_t i;
        need_parts(r, v, key.kind == VALUE_STRING ? key.s : NULL);
        if (v.kind == VALUE_DICT) {
                const Value *found = jinja_get(r, v.dict, key);
                if (found)
                        return *found;
        } else if (jinja_as_int(key, &i) && jinja_is_sequence(v)) {
                size_t at = position(i, v.list->n);
                return at == SIZE_MAX ? jinja_undefined(NULL) : v.list->items[at];
        } else if (jinja_as_int(key, &i) && v.kind == VALUE_STRING)
                return char_at(r, v.s, i);
        if (key.kind != VALUE_STRING)
                return jinja_undefined(NULL);
        const Builtin *method = jinja_find_method(v, key.s);
        if (method)
                return jinja_function(r, method, v);
        return v.kind == VALUE_NAMESPACE ? jinja_attribute(r, v, key.s) : jinja_undefined(key.s);
}

/* One end of a slice, counted and clipped as Python does. */
static int64_t slice_end(Run *r, Value v, int64_t n, int64_t standard, int64_t lowest, int64_t highest) {
        if (v.kind == VALUE_NONE)
                return standard;
        int64_t i = jinja_need_int(r, v, "a slice's index");
        return CLAMP(i < 0 ? i + n : i, lowest, highest);
}

static Value slice_string(Run *r, const String *s, int64_t start, int64_t n, int64_t step, size_t chars) {
        Text t = {0};
        if (n <= 0)
                return jinja_string(r, "", 0);
        if (step == 1) {
                size_t from = jinja_char_offset(r, s, (size_t)start);
                const String rest = {s->data + from, s->len - from, NULL};
                return jinja_string(r, rest.data, jinja_char_offset(r, &rest, (size_t)n));
        }
        uint32_t *all = jinja_alloc(r, chars, sizeof(*all));
        const char *p = s->data;
        for (size_t i = 0; i < chars; i++)
                all[i] = jinja_next_char(&p);
        for (; n > 0; n--, start += step)
                jinja_put_char(r, &t, all[start]);
        return jinja_text(r, &t);
}

static Value slice_list(Run *r, Value v, int64_t start, int64_t n, int64_t step) {
        Value part = step == 1 && n > 0 ? jinja_sub_list(r, v, (size_t)start, (size_t)n) : jinja_list(r, 0);
        part.kind = v.kind;
        for (; step != 1 && n > 0; n--, start += step)
                jinja_append(r, part, v.list->items[start]);
        return part;
}

Value jinja_slice(Run *r, Value v, Value start, Value stop, Value step) {
        need_parts(r, v, NULL);
        if (v.kind != VALUE_STRING && !jinja_is_sequence(v))
                return jinja_undefined(NULL);
        int64_t n = (int64_t)jinja_length(r, v);
        int64_t by = step.kind == VALUE_NONE ? 1 : jinja_need_int(r, step, "a slice's step");
        if (by == 0)
                jinja_fail(r, -EINVAL, "a slice's step cannot be zero");
        by = CLAMP(by, -n - 1, n + 1); /* further makes no difference */
        int64_t low = by < 0 ? -1 : 0, high = by < 0 ? n - 1 : n;
        int64_t from = slice_end(r, start, n, by < 0 ? high : low, low, high);
        int64_t to = slice_end(r, stop, n, by < 0 ? low : high, low, high);
        int64_t count = by > 0 ? (to - from + by - 1) / by : (from - to - by - 1) / -by;
        return v.kind == VALUE_STRING ? slice_string(r, v.s, from, count, by, (size_t)n)
                                      : slice_list(r, v, from, count, by);
}
