/* What the tests of the CPU device share: a device and a stream for every instruction set of this machine and several
 * numbers of threads, random inputs, and formats decoded the slow way. */
#pragma once

#include <math.h>

#include "device/cpu/cpu.h"
#include "device/device.h"
#include "unit.h"

typedef struct Rig {
        Device *device;
        Stream *stream;
        const DeviceOps *ops;
        const char *isa;
        unsigned threads;
} Rig;

/* Whatever there is to do is done in parts, however little it is. */
static inline void rig_stream(Rig *r) {
        assert_int_equal(r->ops->stream_new(r->device, STREAM_STEPS, &r->stream, NULL), 0);
        cpu_stream_set_part_work(r->stream, 1);
}

static inline bool rig_init(Rig *r, const char *isa, unsigned threads) {
        setenv("ZEROLLAMA_CPU_ISA", isa, 1);
        assert_int_equal(device_cpu_new(threads, &r->device, NULL), 0);
        const char *name = strrchr(r->device->name, ' ') + 1;
        if (strcmp(name, isa) != 0) { /* this processor cannot */
                device_free(r->device);
                return false;
        }
        r->ops = r->device->ops;
        r->isa = isa;
        r->threads = threads;
        rig_stream(r);
        return true;
}

static inline void rig_deinit(Rig *r) {
        r->ops->stream_free(r->stream);
        device_free(r->device);
}

/* Executes what was recorded. */
static inline void rig_run(Rig *r) {
        uint64_t ticket;
        assert_int_equal(r->ops->mark(r->stream, &ticket), 0);
        assert_int_equal(r->ops->wait(r->stream, ticket), 0);
}

static inline void on_every_rig(void (*test)(Rig *r)) {
        static const char *const isas[] = {"generic", "avx2", "avx512", "avx512vnni", "amx"};
        for (size_t i = 0; i < ARRAY_SIZE(isas); i++)
                for (unsigned threads = 1; threads <= 3; threads++) {
                        Rig r;
                        if (!rig_init(&r, isas[i], threads))
                                continue;
                        test(&r);
                        rig_deinit(&r);
                }
}

/* xorshift64*; the same numbers in every run. */
static uint64_t random_state = 1;

static inline uint64_t random_bits(void) {
        random_state ^= random_state >> 12;
        random_state ^= random_state << 25;
        random_state ^= random_state >> 27;
        return random_state * 0x2545f4914f6cdd1d;
}

static inline float random_float(void) { /* [-1, 1) */
        return (float)((double)(random_bits() >> 11) * 0x1p-52 - 1);
}

/* In memory of exactly this size, so that a sanitizer sees any step outside. */
static inline float *random_floats(size_t n) {
        float *x = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++)
                x[i] = random_float();
        return x;
}

static inline float *poisoned_floats(size_t n) {
        float *x = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++)
                x[i] = NAN;
        return x;
}

static inline double half_value(uint16_t h) {
        int exponent = h >> 10 & 31, fraction = h & 1023;
        double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        return h & 0x8000 ? -x : x;
}

/* Where a block of a quantised format has its factor; what is added or taken off stands behind it. */
static inline size_t factor_at(Dtype type) {
        return type == DTYPE_Q2_K ? 80 : type == DTYPE_Q3_K ? 108 : type == DTYPE_Q6_K ? 208 : 0;
}

static inline bool has_summands(Dtype type) {
        return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

/* Random rows of any format; values about as big as 1. */
static inline void *random_rows(Dtype type, size_t rows, size_t cols) {
        size_t size = dtype_row_size(type, cols) * rows, block = dtype_info(type)->block_size;
        unsigned char *w = malloc(size);
        for (size_t i = 0; i < size; i++)
                w[i] = (unsigned char)random_bits();
        for (size_t i = 0; i < size; i += block) {
                float f = random_float();
                uint32_t u;
                memcpy(&u, &f, sizeof(u));
                uint16_t half = (uint16_t)(0x2000 + random_bits() % 0x1c00 + (random_bits() & 0x8000));
                uint16_t bfloat = (uint16_t)(u >> 16), scale = (uint16_t)(half - 0x1800 + 0x0400), other = scale ^ 0x8001;
                if (type == DTYPE_F32)
                        memcpy(w + i, &f, sizeof(f));
                else if (type == DTYPE_F16)
                        memcpy(w + i, &half, sizeof(half));
                else if (type == DTYPE_BF16)
                        memcpy(w + i, &bfloat, sizeof(bfloat));
                else if (type == DTYPE_MXFP4)
                        w[i] = (unsigned char)(120 + random_bits() % 6);
                else
                        memcpy(w + i + factor_at(type), &scale, sizeof(scale));
                if (has_summands(type))
                        memcpy(w + i + factor_at(type) + 2, &other, sizeof(other));
        }
        return w;
}

static inline double half_at(const unsigned char *p) {
        return half_value((uint16_t)(p[0] | p[1] << 8));
}

/* Value i of a block of Q4_K, or of Q5_K. */
static inline double k45_value(Dtype type, const unsigned char *p, size_t i) {
        const unsigned char *s = p + 4, *low = p + (type == DTYPE_Q4_K ? 16 : 48);
        size_t g = i / 32;
        int by = g < 4 ? s[g] & 63 : (s[g + 4] & 15) + s[g - 4] / 64 * 16;
        int less = g < 4 ? s[g + 4] & 63 : s[g + 4] / 16 + s[g] / 64 * 16;
        int q = low[i / 64 * 32 + i % 32] >> (g % 2 ? 4 : 0) & 15;
        if (type == DTYPE_Q5_K)
                q += p[16 + i % 32] & 1 << g ? 16 : 0;
        return half_at(p) * by * q - half_at(p + 2) * less;
}

/* Value i of a block of Q4_1, Q5_0 or Q5_1. */
static inline double old_value(Dtype type, const unsigned char *p, size_t i) {
        size_t q_at = dtype_info(type)->block_size - 16;
        int q = p[q_at + i % 16] >> (i < 16 ? 0 : 4) & 15;
        if (type != DTYPE_Q4_1)
                q += p[q_at - 4 + i / 8] & 1 << i % 8 ? 16 : 0;
        return type == DTYPE_Q5_0 ? half_at(p) * (q - 16) : half_at(p) * q + half_at(p + 2);
}

static inline double q2_k_value(const unsigned char *p, size_t i) {
        int q = p[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, s = p[i / 16];
        return half_at(p + 80) * (s % 16) * q - half_at(p + 82) * (s / 16);
}

static inline double q3_k_value(const unsigned char *p, size_t i) {
        const unsigned char *s = p + 96;
        size_t j = i / 16;
        int by = (j < 8 ? s[j] % 16 : s[j - 8] / 16) + (s[8 + j % 4] >> j / 4 * 2 & 3) * 16 - 32;
        int q = (p[32 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - (p[i % 32] >> i / 32 & 1 ? 0 : 4);
        return half_at(p + 108) * by * q;
}

static inline double q6_k_value(const unsigned char *p, size_t i) {
        size_t in = i % 128;
        int low = p[i / 128 * 64 + in % 64], high = p[128 + i / 128 * 32 + in % 32] >> in / 32 * 2 & 3;
        return half_at(p + 208) * (signed char)p[192 + i / 16] * ((in < 64 ? low % 16 : low / 16) + 16 * high - 32);
}

static inline double iq4_xs_value(const unsigned char *p, size_t i) {
        static const int table[] = {DTYPE_TABLE_IQ4};
        size_t g = i / 32;
        int s = (p[4 + g / 2] >> (g % 2 ? 4 : 0) & 15) + ((p[2] | p[3] << 8) >> 2 * g & 3) * 16;
        return half_at(p) * (s - 32) * table[p[8 + g * 16 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15];
}

static inline double table_value(Dtype type, const unsigned char *p, size_t i) {
        static const int iq4[] = {DTYPE_TABLE_IQ4};
        static const double e2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
        if (type == DTYPE_IQ4_NL)
                return half_at(p) * iq4[p[2 + i % 16] >> (i < 16 ? 0 : 4) & 15];
        int q = p[1 + i % 16] >> (i < 16 ? 0 : 4) & 15;
        return ldexp(e2m1[q & 7], p[0] - 127) * (q & 8 ? -1 : 1);
}

/* One value, as the format's definition has it. */
static inline double row_value(Dtype type, const void *row, size_t i) {
        const unsigned char *p = row;
        uint16_t h;
        float f;
        switch (type) {
        case DTYPE_F32:
                memcpy(&f, p + i * 4, 4);
                return f;
        case DTYPE_F16:
                memcpy(&h, p + i * 2, 2);
                return half_value(h);
        case DTYPE_BF16: {
                memcpy(&h, p + i * 2, 2);
                int exponent = h >> 7 & 255;
                double x = exponent == 0 ? ldexp(h & 127, -133) : ldexp(128 + (h & 127), exponent - 134);
                return h & 0x8000 ? -x : x;
        }
        case DTYPE_Q8_0:
                p += i / 32 * 34;
                memcpy(&h, p, 2);
                return half_value(h) * (signed char)p[2 + i % 32];
        case DTYPE_Q4_0:
                p += i / 32 * 18;
                memcpy(&h, p, 2);
                return half_value(h) * ((i % 32 < 16 ? p[2 + i % 32] & 15 : p[2 + i % 16] >> 4) - 8);
        case DTYPE_Q4_1:
        case DTYPE_Q5_0:
        case DTYPE_Q5_1:
                return old_value(type, p + i / 32 * dtype_info(type)->block_size, i % 32);
        case DTYPE_Q2_K:
                return q2_k_value(p + i / 256 * 84, i % 256);
        case DTYPE_Q3_K:
                return q3_k_value(p + i / 256 * 110, i % 256);
        case DTYPE_Q4_K:
        case DTYPE_Q5_K:
                return k45_value(type, p + i / 256 * dtype_info(type)->block_size, i % 256);
        case DTYPE_Q6_K:
                return q6_k_value(p + i / 256 * 210, i % 256);
        case DTYPE_IQ4_XS:
                return iq4_xs_value(p + i / 256 * 136, i % 256);
        case DTYPE_IQ4_NL:
        case DTYPE_MXFP4:
                return table_value(type, p + i / 32 * dtype_info(type)->block_size, i % 32);
        }
        return NAN;
}

static inline void assert_close(float got, double want, double tolerance) {
        if (!(fabs(got - want) <= tolerance))
                fail_msg("%.9g, expected %.9g within %.3g", got, want, tolerance);
}
