/* What outlives a restart; see state.h.
 *
 * A half: Head, n_users times UserRecord, n_models times ModelRecord; in the byte order of this machine and with times
 * of its monotonic clock, since a memfd sees no other. VERSION changes with any of these structs. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/daemon.h"
#include "daemon/manager.h"
#include "util/log.h"
#include "util/str.h"

enum { VERSION = 1, RECORDS_MAX = 4096, NAME_SIZE = 256 };
#define HALF_SIZE ((off_t)8 << 20) /* nothing is allocated for what is not written */

static const char magic[8] = "ZLSTATE";

typedef struct Head {
        char magic[8];
        uint32_t version, n_users, n_models, unused;
        uint64_t checksum; /* of all that follows, records included */
        uint64_t sequence;
        uint64_t completed, failed, cancelled, refused, restarted, next_job;
} Head;

typedef struct UserRecord {
        uint32_t uid, n_gids;
        uint32_t gids[USER_GROUPS_MAX];
        double tokens;
        uint64_t refilled, seen, tokens_total, requests_total;
} UserRecord;

typedef struct ModelRecord {
        char name[NAME_SIZE];
        uint64_t jobs_total, prompt_tokens, generation_tokens, cached_tokens;
        Histogram queue_time, first_token, inter_token, request_time;
} ModelRecord;

_Static_assert(sizeof(Head) + RECORDS_MAX * (sizeof(UserRecord) + sizeof(ModelRecord)) <= 8 << 20, "a half holds everything");

/* FNV-1a: finds what was cut off or overwritten by accident; against intent there are the checks of each value. */
static uint64_t checksum_of(const void *data, size_t n, uint64_t sum) {
        for (const unsigned char *p = data, *end = p + n; p < end; p++)
                sum = (sum ^ *p) * 0x100000001b3u;
        return sum;
}

static uint64_t checksum(const Head *h, const void *records, size_t n) {
        const char *from = (const char *)&h->sequence;
        return checksum_of(records, n, checksum_of(from, (size_t)((const char *)(h + 1) - from), 0xcbf29ce484222325u));
}

/* ---- writing ---- */

static void put_user(const User *u, Buf *out) {
        UserRecord r = {.uid = u->uid, .n_gids = u->peer.n_gids, .tokens = u->tokens, .refilled = u->refilled, .seen = u->seen,
                        .tokens_total = u->tokens_total, .requests_total = u->requests_total};
        memcpy(r.gids, u->peer.gids, u->peer.n_gids * sizeof(*r.gids));
        buf_put(out, &r, sizeof(r));
}

static void put_model(const ModelEntry *m, Buf *out) {
        ModelRecord r = {.jobs_total = m->jobs_total, .prompt_tokens = m->prompt_tokens, .generation_tokens = m->generation_tokens,
                         .cached_tokens = m->cached_tokens, .queue_time = m->queue_time, .first_token = m->first_token,
                         .inter_token = m->inter_token, .request_time = m->request_time};
        memcpy(r.name, m->name, strlen(m->name));
        buf_put(out, &r, sizeof(r));
}

static void put_records(const Daemon *d, Head *h, Buf *out) {
        list_foreach(u, &d->users.list, User, node)
                if (h->n_users < RECORDS_MAX) {
                        h->n_users++;
                        put_user(u, out);
                }
        list_foreach(m, &d->registry.models, ModelEntry, node)
                if (m->jobs_total > 0 && h->n_models < RECORDS_MAX && strlen(m->name) < NAME_SIZE) {
                        h->n_models++;
                        put_model(m, out);
                }
}

static bool write_half(State *s, const Buf *records, Head *h) {
        off_t at = s->sequence % 2 ? HALF_SIZE : 0;
        return pwrite(s->fd, records->data, records->len, at + (off_t)sizeof(*h)) == (ssize_t)records->len &&
               pwrite(s->fd, h, sizeof(*h), at) == sizeof(*h);
}

void state_save(State *s, const Daemon *d) {
        _cleanup_buf_ Buf records = BUF_NULL;
        if (s->fd < 0)
                return;
        Head h = {.version = VERSION, .completed = d->jobs.completed, .failed = d->jobs.failed, .cancelled = d->jobs.cancelled,
                  .refused = d->jobs.refused, .restarted = d->jobs.restarted, .next_job = d->next_job};
        memcpy(h.magic, magic, sizeof(magic));
        put_records(d, &h, &records);
        uint64_t sum = checksum(&h, records.data, records.len); /* as of sequence 0: what changed, if anything */
        if (records.failed || sum == s->checksum)
                return;
        s->checksum = sum;
        h.sequence = ++s->sequence;
        h.checksum = checksum(&h, records.data, records.len);
        if (write_half(s, &records, &h))
                return;
        log_warning("cannot keep accounts for the next instance: %s", strerror(errno));
        state_deinit(s);
}

/* ---- reading ---- */

typedef struct Half {
        Head head;
        UserRecord *users; /* owns the memory of all records */
        ModelRecord *models;
} Half;

static bool read_half(int fd, off_t at, Half *ret) {
        Head *h = &ret->head;
        if (pread(fd, h, sizeof(*h), at) != sizeof(*h) || memcmp(h->magic, magic, sizeof(magic)) != 0 || h->version != VERSION ||
            h->n_users > RECORDS_MAX || h->n_models > RECORDS_MAX)
                return false;
        size_t users = h->n_users * sizeof(UserRecord), n = users + h->n_models * sizeof(ModelRecord);
        char *records = malloc(n + 1);
        if (!records || pread(fd, records, n, at + (off_t)sizeof(*h)) != (ssize_t)n || checksum(h, records, n) != h->checksum) {
                free(records);
                return false;
        }
        ret->users = (UserRecord *)(void *)records;
        ret->models = (ModelRecord *)(void *)(records + users);
        return true;
}

/* The newer of the two, if any is whole. */
static bool read_newest(int fd, Half *ret) {
        Half other;
        bool first = read_half(fd, 0, ret), second = read_half(fd, HALF_SIZE, &other);
        if (first && second) {
                bool take_other = other.head.sequence > ret->head.sequence;
                free(take_other ? ret->users : other.users);
                if (!take_other)
                        return true;
        }
        if (second)
                *ret = other;
        return first || second;
}

static void restore_user(const UserRecord *r, Daemon *d) {
        Peer peer = {.uid = r->uid, .n_gids = MIN(r->n_gids, (uint32_t)USER_GROUPS_MAX), .tcp = r->uid == USER_TCP_UID};
        memcpy(peer.gids, r->gids, peer.n_gids * sizeof(*r->gids));
        User *u = users_get(&d->users, &peer, d->config);
        if (!u)
                return;
        uint64_t now = now_usec();
        u->refilled = MIN(r->refilled, now);
        u->seen = MIN(r->seen, now);
        u->tokens_total = r->tokens_total;
        u->requests_total = r->requests_total;
        if (isfinite(r->tokens))
                u->tokens = MIN(r->tokens, (double)u->limits.tokens_per_minute);
}

static void restore_model(ModelRecord *r, Daemon *d) {
        r->name[NAME_SIZE - 1] = 0;
        list_foreach(m, &d->registry.models, ModelEntry, node)
                if (strcmp(m->name, r->name) == 0) {
                        m->jobs_total = r->jobs_total;
                        m->prompt_tokens = r->prompt_tokens;
                        m->generation_tokens = r->generation_tokens;
                        m->cached_tokens = r->cached_tokens;
                        m->queue_time = r->queue_time;
                        m->first_token = r->first_token;
                        m->inter_token = r->inter_token;
                        m->request_time = r->request_time;
                }
}

static void restore(const Half *half, Daemon *d) {
        const Head *h = &half->head;
        d->jobs.completed = h->completed;
        d->jobs.failed = h->failed;
        d->jobs.cancelled = h->cancelled;
        d->jobs.refused = h->refused;
        d->jobs.restarted = h->restarted;
        d->next_job = MIN(h->next_job, UINT64_MAX / 2); /* far from where it would wrap */
        for (uint32_t i = 0; i < h->n_users; i++)
                restore_user(&half->users[i], d);
        for (uint32_t i = 0; i < h->n_models; i++)
                restore_model(&half->models[i], d);
}

/* ---- life ---- */

void state_adopt(State *s, int fd) {
        if (s->fd >= 0)
                close(s->fd);
        s->fd = fd;
}

void state_restore(State *s, Daemon *d) {
        Half half;
        if (s->fd >= 0 && read_newest(s->fd, &half)) {
                restore(&half, d);
                s->sequence = half.head.sequence;
                free(half.users);
                return;
        }
        if (s->fd >= 0)
                log_notice("what the last instance left of accounts and counters cannot be used; they begin anew");
        state_deinit(s);
        s->fd = memfd_create("zerollama-state", MFD_CLOEXEC);
        if (s->fd >= 0 && !manager_store(s->fd, STATE_NAME))
                state_deinit(s);
}

void state_deinit(State *s) {
        if (s->fd >= 0)
                close(s->fd);
        s->fd = -1;
}
