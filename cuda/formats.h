/* Number formats of weights, as kernels read them; see dtype.h for their layouts. Included by kernel.h.
 *
 * A lane reads eight values of a group of 32. In the quantised formats they become integers, exact in bfloat16:
 *
 *   Q8_0, Q4_0, Q5_0, Q3_K          scale * P       Q3_K: P is the factor times the value
 *   IQ4_NL, IQ4_XS, MXFP4           scale * P       P is of a table
 *   Q6_K                            scale * P       P, factor times value, is two terms
 *   Q4_1, Q5_1, Q2_K, Q4_K, Q5_K    scale * P + offset * M
 *
 * so that P and M are multiplied by tensor cores, and scale and offset, which are a group's, are applied to the sums. */
#pragma once

BOTH bool is_quantised(Dtype type) {
        return type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16;
}

BOTH bool has_offset(Dtype type) {
        return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

/* Whether a weight, or P, is two terms and not one. */
BOTH bool has_two_terms(Dtype type) {
        return type == DTYPE_F16 || type == DTYPE_F32 || type == DTYPE_Q6_K;
}

BOTH uint32_t block_values(Dtype type) {
        switch (type) {
                DTYPES(DTYPE_CASE_VALUES)
        }
        return 1;
}

BOTH uint32_t block_bytes(Dtype type) {
        switch (type) {
                DTYPES(DTYPE_CASE_BYTES)
        }
        return 1;
}

/* Bytes of a row of whole blocks. */
DEVICE size_t row_bytes(Dtype type, uint32_t cols) {
        return (size_t)(cols / block_values(type)) * block_bytes(type);
}

/* ---- eight values ---- */

/* As they are in the file. */
typedef struct Raw {
        uint32_t w[EIGHT]; /* plain formats: as many as it takes; else w[0..2) low bits, w[2..4) high ones */
        uint32_t scales;   /* F16 d, and in the high half m or dmin */
        uint32_t factor, offset; /* integers of K formats */
} Raw;

/* What they become. */
typedef struct Eights {
        Eight e; /* the terms; or, with an offset, P and M */
        float scale, offset;
} Eights;

DEVICE uint32_t two_halves(const unsigned char *p) { /* at an even address */
        return (uint32_t)((const uint16_t *)p)[0] | (uint32_t)((const uint16_t *)p)[1] << 16;
}

DEVICE void two_words(const unsigned char *p, uint32_t ret[2]) {
        ret[0] = two_halves(p);
        ret[1] = two_halves(p + 4);
}

/* Of Q4_K and Q5_K: factors of group g, 6 bits each. */
DEVICE void read_factors(const unsigned char *s, uint32_t g, Raw *r) {
        uint32_t i = g % 4, low = s[i], high = s[i + 4], rest = s[i + 8];
        r->factor = g < 4 ? low & 63 : (rest & 15) | low >> 6 << 4;
        r->offset = g < 4 ? high & 63 : rest >> 4 | high >> 6 << 4;
}

/* Of Q3_K: factor i of 16. */
DEVICE uint32_t third_factor(const unsigned char *s, uint32_t i) {
        return (s[i % 8] >> i / 8 * 4 & 15u) | (s[8 + i % 4] >> i / 4 * 2 & 3u) << 4;
}

/* Of IQ4_XS: factor of group g, less 32. */
DEVICE uint32_t fourth_factor(const unsigned char *b, uint32_t g) {
        uint32_t high = *(const uint16_t *)(b + 2) >> 2 * g & 3u;
        return (b[4 + g / 2] >> g % 2 * 4 & 15u) + high * 16 - 32;
}

DEVICE void read_k(Dtype type, const unsigned char *b, uint32_t g, uint32_t t, Raw *r) {
        uint32_t pair = g / 4 * 32 + t * EIGHT; /* of 128 values a row of 32 bytes */
        switch (type) {
        case DTYPE_Q2_K:
                two_words(b + 16 + pair, r->w);
                r->scales = two_halves(b + 80);
                r->factor = b[2 * g + t / 2] & 15;
                r->offset = b[2 * g + t / 2] >> 4;
                return;
        case DTYPE_Q3_K:
                two_words(b + 32 + pair, r->w);
                two_words(b + t * EIGHT, r->w + 2);
                r->scales = *(const uint16_t *)(b + 108);
                r->factor = third_factor(b + 96, 2 * g + t / 2) - 32;
                return;
        case DTYPE_Q6_K:
                two_words(b + g / 4 * 64 + g % 2 * 32 + t * EIGHT, r->w);
                two_words(b + 128 + pair, r->w + 2);
                r->scales = *(const uint16_t *)(b + 208);
                r->factor = (uint32_t)(int8_t)b[192 + 2 * g + t / 2];
                return;
        case DTYPE_IQ4_XS:
                two_words(b + 8 + g * 16 + t % 2 * EIGHT, r->w);
                r->scales = *(const uint16_t *)b;
                r->factor = fourth_factor(b, g);
                return;
        case DTYPE_Q5_K:
                two_words(b + 16 + t * EIGHT, r->w + 2);
                b += 32;
                two_words(b + 16 + g / 2 * 32 + t * EIGHT, r->w);
                r->scales = two_halves(b - 32);
                read_factors(b - 28, g, r);
                return;
        case DTYPE_Q4_K:
        default:
                two_words(b + 16 + g / 2 * 32 + t * EIGHT, r->w);
                r->scales = two_halves(b);
                read_factors(b + 4, g, r);
        }
}

/* Whose blocks are of 17 bytes. */
DEVICE void read_mxfp4(const unsigned char *b, uint32_t t, Raw *r) {
        r->scales = b[0];
        b += 1 + t % 2 * EIGHT;
        UNROLL for (int j = 0; j < EIGHT; j++)
                r->w[j / 4] |= (uint32_t)b[j] << j % 4 * 8;
}

DEVICE void read_block(Dtype type, const unsigned char *b, uint32_t t, Raw *r) {
        if (type == DTYPE_MXFP4) {
                read_mxfp4(b, t, r);
                return;
        }
        bool fifth = type == DTYPE_Q5_0 || type == DTYPE_Q5_1;
        uint32_t head = has_offset(type) ? 4 : 2;
        r->scales = head == 4 ? two_halves(b) : *(const uint16_t *)b;
        if (fifth)
                r->w[2] = two_halves(b + head);
        two_words(b + head + (fifth ? 4 : 0) + (type == DTYPE_Q8_0 ? t : t % 2) * EIGHT, r->w);
}

/* Of the group of columns from k on, by lane part t. */
DEVICE Raw raw_eight(Dtype type, const char *row, uint32_t k, uint32_t cols, uint32_t t, bool aligned) {
        Raw r;
        UNROLL for (int j = 0; j < EIGHT; j++)
                r.w[j] = 0;
        r.scales = r.factor = r.offset = 0;
        if (is_quantised(type)) {
                const unsigned char *b = (const unsigned char *)row + (size_t)(k / block_values(type)) * block_bytes(type);
                if (block_values(type) == GROUP)
                        read_block(type, b, t, &r);
                else
                        read_k(type, b, k / GROUP % 8, t, &r);
        } else if (type == DTYPE_F32) {
                float v[EIGHT];
                plain_values(type, row, k + t * EIGHT, cols, aligned, v);
                UNROLL for (int j = 0; j < EIGHT; j++)
                        r.w[j] = bits_of(v[j]);
        } else {
                Words w = plain_halves(row, k + t * EIGHT, cols, aligned);
                UNROLL for (int j = 0; j < 4; j++)
                        r.w[j] = w.w[j];
        }
        return r;
}

/* Entry q of a table of signed bytes, the first eight in `low`. */
DEVICE int table_entry(uint64_t low, uint64_t high, uint32_t q) {
        return (int8_t)((q < 8 ? low : high) >> q % 8 * 8 & 255);
}

/* DTYPE_TABLE_IQ4 and DTYPE_TABLE_E2M1, as bytes. */
DEVICE int iq4_entry(uint32_t q) {
        return table_entry(0xf6eaddcfbfad9881, 0x7159453526190d01, q);
}

DEVICE int e2m1_entry(uint32_t q) {
        return table_entry(0x0c08060403020100, 0xf4f8fafcfdfeff00, q);
}

/* P of value j of a lane's eight. */
DEVICE int quantised_integer(Dtype type, const Raw *r, uint32_t g, uint32_t t, uint32_t j) {
        uint32_t low = r->w[j / 4] >> j % 4 * 8 & 255, high = r->w[2 + j / 4] >> j % 4 * 8 & 255;
        uint32_t fifth = r->w[2] >> (t * EIGHT + j) & 1;
        switch (type) {
        case DTYPE_Q8_0:
                return (int8_t)low;
        case DTYPE_Q4_0:
                return (int)(low >> t / 2 * 4 & 15) - 8;
        case DTYPE_Q4_1:
                return (int)(low >> t / 2 * 4 & 15);
        case DTYPE_IQ4_NL:
        case DTYPE_IQ4_XS:
                return iq4_entry(low >> t / 2 * 4 & 15);
        case DTYPE_MXFP4:
                return e2m1_entry(low >> t / 2 * 4 & 15);
        case DTYPE_Q5_0:
                return (int)((low >> t / 2 * 4 & 15) | fifth << 4) - 16;
        case DTYPE_Q5_1:
                return (int)((low >> t / 2 * 4 & 15) | fifth << 4);
        case DTYPE_Q2_K:
                return (int)(low >> g % 4 * 2 & 3) * (int)r->factor;
        case DTYPE_Q3_K:
                return ((int)(low >> g % 4 * 2 & 3) - (high >> g & 1 ? 0 : 4)) * (int)r->factor;
        case DTYPE_Q5_K:
                return (int)((low >> g % 2 * 4 & 15) | (high >> g & 1) << 4);
        case DTYPE_Q6_K:
                return ((int)((low >> g % 4 / 2 * 4 & 15) | (high >> g % 4 * 2 & 3) << 4) - 32) * (int)r->factor;
        case DTYPE_Q4_K:
        default:
                return (int)(low >> g % 2 * 4 & 15);
        }
}

DEVICE Eights unpack_eight(Dtype type, const Raw *r, uint32_t k, uint32_t t) {
        Eights u;
        float v[EIGHT];
        u.e = eight_zero();
        u.scale = u.offset = 0;
        if (type == DTYPE_BF16) {
                UNROLL for (int j = 0; j < 4; j++)
                        u.e.hi[j] = r->w[j];
                return u;
        }
        UNROLL for (uint32_t j = 0; j < EIGHT; j++)
                v[j] = type == DTYPE_F32   ? float_of(r->w[j])
                       : type == DTYPE_F16 ? from_half((uint16_t)(r->w[j / 2] >> j % 2 * 16))
                                           : (float)quantised_integer(type, r, k / GROUP % 8, t, j);
        if (has_two_terms(type))
                u.e = eight_of(v);
        else
                UNROLL for (int j = 0; j < 4; j++)
                        u.e.hi[j] = bfloat_pair(v[2 * j], v[2 * j + 1]);
        if (!is_quantised(type))
                return u;
        u.scale = type != DTYPE_MXFP4 ? from_half((uint16_t)r->scales)
                                      : float_of(r->scales < 2 ? 0x00200000u << r->scales : (r->scales - 1) << 23); /* 2^(e - 128) */
        if (type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_IQ4_XS)
                u.scale *= (float)(int)r->factor;
        if (has_offset(type)) {
                bool k_format = block_values(type) != GROUP;
                float m = k_format ? (float)(int)r->offset : 1, offset = from_half((uint16_t)(r->scales >> 16));
                u.offset = k_format ? -offset : offset;
                UNROLL for (int j = 0; j < 4; j++)
                        u.e.lo[j] = bfloat_pair(m, m);
        }
        return u;
}

/* Values i to i + 7 of a quantised row, rounded once. */
DEVICE void quantised_values(Dtype type, const void *row, uint32_t i, float ret[EIGHT]) {
        uint32_t k = i / GROUP * GROUP, t = i % GROUP / EIGHT;
        Raw r = raw_eight(type, (const char *)row, k, 0, t, false);
        Eights u = unpack_eight(type, &r, k, t);
        UNROLL for (uint32_t j = 0; j < EIGHT; j++) {
                float p = (float)quantised_integer(type, &r, k / GROUP % 8, t, j);
                ret[j] = has_offset(type) ? fmaf(u.scale, p, u.offset * pair_low(u.e.lo[0])) : u.scale * p;
        }
}

/* Value i of a row. */
DEVICE float row_value(Dtype type, const void *row, uint32_t i) {
        float v[EIGHT];
        if (!is_quantised(type))
                return plain_value(type, row, i);
        quantised_values(type, row, i / EIGHT * EIGHT, v);
        for (uint32_t j = 0; j < EIGHT; j++)
                if (j == i % EIGHT)
                        return v[j];
        return 0;
}
