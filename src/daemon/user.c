/* Users and their budgets; see user.h. The list is short (people logged in, not requests), so it is searched. */
#include <errno.h>
#include <sys/socket.h>

#include "daemon/user.h"
#include "util/buf.h"
#include "util/log.h"
#include "util/str.h"

enum { RETRY_MIN_USEC = 100000, RETRY_USEC = 1000000, RETRY_MAX_USEC = 60000000 };
#define REMEMBER_USEC UINT64_C(3600000000)

int peer_of(int fd, Peer *ret) {
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);
        *ret = (Peer){.uid = USER_TCP_UID, .tcp = true};
        if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
                return -errno;
        if (addr.ss_family != AF_UNIX)
                return 0;
        struct ucred cred;
        len = sizeof(cred);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
                return -errno;
        *ret = (Peer){.uid = cred.uid, .pid = cred.pid, .gids = {cred.gid}, .n_gids = 1};
        len = (USER_GROUPS_MAX - 1) * sizeof(gid_t);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, ret->gids + 1, &len) == 0)
                ret->n_gids += (uint32_t)(len / sizeof(gid_t));
        return 0;
}

void users_init(Users *us) {
        list_init(&us->list);
}

void users_deinit(Users *us) {
        list_foreach(u, &us->list, User, node) {
                list_remove(&u->node);
                free(u);
        }
}

static void log_user(const User *u) {
        _cleanup_buf_ Buf groups = BUF_NULL;
        if (log_get_level() < LOG_LEVEL_DEBUG)
                return;
        for (uint32_t i = 0; i < u->peer.n_gids; i++)
                buf_printf(&groups, " %u", u->peer.gids[i]);
        log_write(LOG_LEVEL_DEBUG, &(LogFields){.uid = &u->uid}, "user %u: groups%s", u->uid, groups.len ? groups.data : " none");
}

static void user_set_limits(User *u, ConfigUser limits) {
        if (limits.tokens_per_minute != u->limits.tokens_per_minute)
                u->tokens = (double)limits.tokens_per_minute;
        u->limits = limits;
}

User *users_get(Users *us, const Peer *p, const Config *config) {
        ConfigUser limits = config_user(config, p->uid, p->gids, p->n_gids);
        list_foreach(u, &us->list, User, node)
                if (u->uid == p->uid) {
                        u->peer = *p;
                        u->seen = now_usec();
                        user_set_limits(u, limits);
                        return u;
                }
        User *u = calloc(1, sizeof(*u));
        if (!u)
                return NULL;
        u->uid = p->uid;
        u->peer = *p;
        u->refilled = u->seen = now_usec();
        user_set_limits(u, limits);
        list_append(&us->list, &u->node);
        log_user(u);
        return u;
}

void users_reconfigure(Users *us, const Config *config) {
        list_foreach(u, &us->list, User, node)
                user_set_limits(u, config_user(config, u->uid, u->peer.gids, u->peer.n_gids));
}

static void refill(User *u) {
        uint64_t now = now_usec();
        double rate = (double)u->limits.tokens_per_minute;
        u->tokens = MIN(rate, u->tokens + rate * (double)(now - u->refilled) / 60e6);
        u->refilled = now;
}

uint64_t users_last_seen(const Users *us) {
        uint64_t last = 0;
        list_foreach(u, &us->list, User, node)
                last = MAX(last, u->seen);
        return last;
}

bool users_owe_nothing(Users *us) {
        list_foreach(u, &us->list, User, node) {
                refill(u);
                if (u->tokens < (double)u->limits.tokens_per_minute)
                        return false;
        }
        return true;
}

void users_sweep(Users *us) {
        list_foreach(u, &us->list, User, node) {
                if (now_usec() - u->seen < REMEMBER_USEC)
                        continue;
                refill(u);
                if (u->connections || u->running || u->waiting || u->held || u->tokens < (double)u->limits.tokens_per_minute)
                        continue;
                list_remove(&u->node);
                free(u);
        }
}

/* When one of theirs that are here has ended, if they last as long as those before did. */
static uint64_t retry_busy(const User *u) {
        return u->job_usec > 0 ? (uint64_t)CLAMP(u->job_usec, (double)RETRY_MIN_USEC, (double)RETRY_MAX_USEC) : RETRY_USEC;
}

uint64_t user_refusal(User *u, bool would_wait, const char **ret_why) {
        const ConfigUser *l = &u->limits;
        if (l->jobs && u->running + u->waiting >= l->jobs) {
                *ret_why = "too many requests of this user at once";
                return retry_busy(u);
        }
        if (would_wait && l->queue && u->waiting >= l->queue) {
                *ret_why = "too many waiting requests of this user";
                return retry_busy(u);
        }
        if (l->tokens_per_minute) {
                refill(u);
                if (u->tokens <= 0) {
                        *ret_why = "this user's tokens per minute are used up";
                        return (uint64_t)((1 - u->tokens) * 60e6 / (double)l->tokens_per_minute) + 1;
                }
        }
        return 0;
}

void user_spend_tokens(User *u, uint64_t n) {
        u->tokens_total += n;
        if (!u->limits.tokens_per_minute)
                return;
        refill(u);
        u->tokens -= (double)n;
}

bool user_charge(User *u, uint64_t n, uint64_t most) {
        if (n > most)
                return false;
        if ((u->held += n) <= most)
                return true;
        u->held -= n;
        return false;
}
