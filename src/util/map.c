/* Hash map for byte strings; see map.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "util/map.h"

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed) {
        const unsigned char *p = data;
        uint64_t h = 0xcbf29ce484222325u ^ seed, w;
        for (; len >= 8; len -= 8, p += 8) {
                memcpy(&w, p, 8);
                h = (h ^ w) * 0x9e3779b97f4a7c15u;
                h ^= h >> 32;
        }
        for (; len > 0; len--)
                h = (h ^ *p++) * 0x100000001b3u;
        h ^= h >> 33;
        h *= 0xff51afd7ed558ccdu;
        return h ^ h >> 33;
}

static MapEntry *map_find(const Map *m, const char *key, size_t len) {
        for (size_t i = hash_bytes(key, len, m->seed) & m->mask;; i = (i + 1) & m->mask) {
                MapEntry *e = &m->entries[i];
                if (!e->key || (e->len == len && memcmp(e->key, key, len) == 0))
                        return e;
        }
}

int map_init(Map *m, size_t expected) {
        size_t cap = 16;
        while (cap / 2 < expected)
                cap *= 2;
        *m = (Map){.entries = calloc(cap, sizeof(MapEntry)), .mask = cap - 1};
        if (getrandom(&m->seed, sizeof(m->seed), GRND_NONBLOCK) < 0)
                m->seed = (uintptr_t)m->entries;
        return m->entries ? 0 : -ENOMEM;
}

void map_deinit(Map *m) {
        free(m->entries);
        *m = (Map){0};
}

static int map_grow(Map *m) {
        Map bigger = {.entries = calloc((m->mask + 1) * 2, sizeof(MapEntry)),
                      .mask = m->mask * 2 + 1,
                      .count = m->count,
                      .seed = m->seed};
        if (!bigger.entries)
                return -ENOMEM;
        for (size_t i = 0; i <= m->mask; i++)
                if (m->entries[i].key)
                        *map_find(&bigger, m->entries[i].key, m->entries[i].len) = m->entries[i];
        free(m->entries);
        *m = bigger;
        return 0;
}

int map_set(Map *m, const char *key, size_t len, int32_t value) {
        if (len > UINT32_MAX)
                return -EINVAL;
        MapEntry *e = map_find(m, key, len);
        if (e->key) {
                e->value = value;
                return 1;
        }
        if ((m->count + 1) * 2 > m->mask + 1) {
                if (map_grow(m) < 0)
                        return -ENOMEM;
                e = map_find(m, key, len);
        }
        *e = (MapEntry){.key = key, .len = (uint32_t)len, .value = value};
        m->count++;
        return 0;
}

bool map_get(const Map *m, const char *key, size_t len, int32_t *ret) {
        if (!m->entries)
                return false;
        const MapEntry *e = map_find(m, key, len);
        if (!e->key)
                return false;
        *ret = e->value;
        return true;
}
