/* Numbers as JSON text, many millions at a time: printf takes most of a microsecond for one.
 *
 * Nine significant digits tell any float from its neighbours (IEEE 754: 1 + ceil(24 log10 2)), so what is written reads
 * back to the same bits. They are found by one multiplication with a power of ten in double precision, whose error, one
 * part in 2^53, is far below half of the ninth digit; a tie that it decides the other way is as good a text. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"

enum { DIGITS = 9, EXPONENT_MIN = -7, EXPONENT_MAX = DIGITS - 1, NUMBER_MAX = 24 };

static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* The decimal exponent of its first digit. */
static int exponent_of(double a) {
        int e = EXPONENT_MIN;
        while (e < 0 && a * powers[-e - 1] >= 1) /* that is a >= 10^(e + 1), without a division */
                e++;
        while (e >= 0 && e < EXPONENT_MAX && a >= powers[e + 1])
                e++;
        return e;
}

static char *put_digits(char *p, uint32_t digits, int n) {
        for (int i = n; i-- > 0; digits /= 10)
                p[i] = (char)('0' + digits % 10);
        return p + n;
}

/* Without zeros at the end. */
static char *put_fraction(char *p, uint32_t digits, int n) {
        if (digits == 0)
                return p;
        *p++ = '.';
        p = put_digits(p, digits, n);
        while (p[-1] == '0')
                p--;
        return p;
}

static char *put_plain(char *p, double a) {
        int e = exponent_of(a);
        uint64_t digits = (uint64_t)(a * powers[EXPONENT_MAX - e] + 0.5);
        if (digits == 1000000000) { /* 9.999999999 */
                digits /= 10;
                e++;
        }
        if (e < 0) {
                *p++ = '0';
                *p++ = '.';
                memset(p, '0', 8);
                p = put_digits(p - e - 1, (uint32_t)digits, DIGITS);
                while (p[-1] == '0')
                        p--;
                return p;
        }
        uint32_t unit = (uint32_t)powers[MAX(EXPONENT_MAX - e, 0)];
        p = put_digits(p, (uint32_t)digits / unit, e + 1);
        return put_fraction(p, (uint32_t)digits % unit, EXPONENT_MAX - e);
}

static char *put_number(char *p, float x) {
        double a = fabs((double)x);
        if (a == 0) {
                *p = '0';
                return p + 1;
        }
        if (!isfinite(x)) /* JSON has none of these */
                return stpcpy(p, "null");
        if (a < 1e-6 || a >= 1e8)
                return p + snprintf(p, NUMBER_MAX, "%.9g", (double)x);
        if (x < 0)
                *p++ = '-';
        return put_plain(p, a);
}

void json_put_float(Buf *out, float x) {
        char *start = buf_reserve(out, NUMBER_MAX);
        if (!start)
                return;
        char *end = put_number(start, x);
        *end = 0;
        out->len += (size_t)(end - start);
}

void json_put_floats(Buf *out, const float *values, size_t n) {
        char *start = n <= SIZE_MAX / NUMBER_MAX - 2 ? buf_reserve(out, n * NUMBER_MAX + 2) : NULL, *p = start;
        if (!start) {
                out->failed = true;
                return;
        }
        *p++ = '[';
        for (size_t i = 0; i < n; i++) {
                if (i > 0)
                        *p++ = ',';
                p = put_number(p, values[i]);
        }
        *p++ = ']';
        *p = 0;
        out->len += (size_t)(p - start);
}

void json_put_base64(Buf *out, const void *data, size_t n) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const unsigned char *in = data;
        char *p = n <= SIZE_MAX / 2 ? buf_reserve(out, (n + 2) / 3 * 4 + 2) : NULL, *start = p;
        if (!start) {
                out->failed = true;
                return;
        }
        *p++ = '"';
        for (size_t i = 0; i < n; i += 3) {
                size_t left = MIN(n - i, (size_t)3);
                uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
                *p++ = letters[bits >> 18];
                *p++ = letters[bits >> 12 & 63];
                *p++ = left > 1 ? letters[bits >> 6 & 63] : '=';
                *p++ = left > 2 ? letters[bits & 63] : '=';
        }
        *p++ = '"';
        *p = 0;
        out->len += (size_t)(p - start);
}
