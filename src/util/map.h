/* A hash map from byte strings to 32-bit integers, for vocabularies and name tables. Keys are not copied: they must
 * outlive the map. Open addressing with linear probing, at most half full; there is no removal. The hash is seeded
 * per map, so that keys chosen by somebody else cannot make lookups slow. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct MapEntry {
        const char *key;
        uint32_t len;
        int32_t value;
} MapEntry;

typedef struct Map {
        MapEntry *entries;
        size_t mask, count;
        uint64_t seed;
} Map;

/* Room for `expected` keys; grows beyond. -ENOMEM. */
int map_init(Map *m, size_t expected);
void map_deinit(Map *m);
/* Sets or overwrites; returns 1 when the key was there before, 0 when it is new, -ENOMEM. */
int map_set(Map *m, const char *key, size_t len, int32_t value);
bool map_get(const Map *m, const char *key, size_t len, int32_t *ret);

/* FNV-1a style 64-bit hash of `len` bytes, finished with a multiply-xor mix. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
