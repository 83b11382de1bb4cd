/* Prompt lookup; see lookup.h. The table forgets: of two grams with one hash the later one stays. What it finds is compared. */
#include <stdlib.h>
#include <string.h>

#include "engine/lookup.h"
#include "util/macro.h"

enum { FIRST_LENGTH = 2, MISSES_MAX = 6 /* a rest of 64 tokens */, TABLE_MAX = 1 << 14 };

void lookup_init(Lookup *l, uint32_t most, uint32_t longest) {
        uint32_t size = 64;
        while (size < longest && size < TABLE_MAX)
                size *= 2;
        *l = (Lookup){.mask = size - 1, .length = MIN(most, (uint32_t)FIRST_LENGTH)};
        l->after = most > 0 ? calloc(size, sizeof(*l->after)) : NULL;
        l->most = l->after ? MIN(most, (uint32_t)LOOKUP_MAX) : 0;
}

void lookup_deinit(Lookup *l) {
        free(l->after);
        *l = (Lookup){0};
}

/* Of the gram that ends before `end`. */
static uint32_t *entry_of(const Lookup *l, const int32_t *ids, uint32_t end) {
        uint64_t h = 0;
        for (uint32_t i = end - LOOKUP_GRAM; i < end; i++)
                h = (h ^ (uint32_t)ids[i]) * 0x9e3779b97f4a7c15u;
        return &l->after[(h >> 32) & l->mask];
}

void lookup_learn(Lookup *l, const int32_t *ids, uint32_t n) {
        if (l->most == 0)
                return;
        uint32_t first = MAX(l->learned, (uint32_t)LOOKUP_GRAM - 1);
        if (l->from > 0 && !l->judged && n > l->learned && ids[l->learned] != ids[l->from])
                lookup_outcome(l, 1, 0);
        l->from = 0;
        l->judged = false;
        l->rest -= MIN(l->rest, n - l->learned);
        for (uint32_t end = first + 1; end <= n; end++) {
                uint32_t *entry = entry_of(l, ids, end);
                if (end == n && *entry > 0 && l->rest == 0 &&
                    memcmp(ids + *entry - LOOKUP_GRAM, ids + end - LOOKUP_GRAM, LOOKUP_GRAM * sizeof(*ids)) == 0)
                        l->from = *entry;
                *entry = end;
        }
        l->learned = n;
}

/* Where the gram is so near that what follows is the end of the sequence itself, that is repeated. */
uint32_t lookup_guess(const Lookup *l, const int32_t *ids, uint32_t room, int32_t ret[LOOKUP_MAX]) {
        uint32_t n_ret = l->from > 0 ? MIN(l->length, room) : 0, known = l->learned - l->from;
        for (uint32_t i = 0; i < n_ret; i++)
                ret[i] = i < known ? ids[l->from + i] : ret[i - known];
        return n_ret;
}

void lookup_outcome(Lookup *l, uint32_t guesses, uint32_t right) {
        l->judged = true;
        if (right == 0) {
                l->misses = MIN(l->misses + 1, (uint32_t)MISSES_MAX);
                l->length = 1;
                l->rest = 1u << l->misses;
                return;
        }
        l->misses = 0;
        l->length = right == guesses ? MIN(l->length * 2, l->most) : right;
}
