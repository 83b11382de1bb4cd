/* Who is calling, and what they hold: one User per uid with anything open, charged before memory is spent on it.
 *
 * The kernel names the peer of a Unix connection (SO_PEERCRED, SO_PEERGROUPS). TCP has no such witness: all TCP
 * callers are one user, USER_TCP_UID. A User lives as long as something is charged to it or its token budget is not
 * full again, and an hour beyond, so that its counters can be read. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/config.h"
#include "util/list.h"

enum { USER_GROUPS_MAX = 64 };
#define USER_TCP_UID ((uid_t)-2)

typedef struct Peer {
        uid_t uid;
        gid_t gids[USER_GROUPS_MAX]; /* primary first */
        uint32_t n_gids;
        pid_t pid;                   /* 0: not known */
        bool tcp;
} Peer;

/* -errno when the kernel does not say (not a Unix socket: fills in the TCP user and succeeds). */
int peer_of(int fd, Peer *ret);

typedef struct User {
        ListNode node;
        uid_t uid;
        Peer peer;         /* as of the last connection: groups decide limits */
        ConfigUser limits; /* in force: weight, priority, jobs, queue, tokens_per_minute */
        uint32_t connections, running, waiting;
        /* Bytes of memory: bodies received, what they became, jobs' prompts, answers not yet taken. Workers charge it, too. */
        _Atomic uint64_t held;
        /* The token bucket of tokens_per_minute: what may still be spent, as of `refilled`; may go below zero, because
         * what a job costs is known only when it ran. */
        double tokens;
        uint64_t refilled;
        double job_usec; /* moving average of how long their jobs are here, waiting and running */
        uint64_t tokens_total, requests_total;
        uint64_t seen; /* now_usec() of the last connection */
        uint64_t counted; /* by pool_users() */
} User;

typedef struct Users {
        List list;
} Users;

void users_init(Users *us);
void users_deinit(Users *us);
/* The user of a peer, made when new. NULL: no memory. */
User *users_get(Users *us, const Peer *p, const Config *config);
/* After a reload: looks every user's limits up again. */
void users_reconfigure(Users *us, const Config *config);
/* When somebody connected last; 0: never. */
uint64_t users_last_seen(const Users *us);
/* Whether every budget is full, so that to forget it would be no gift. */
bool users_owe_nothing(Users *us);
/* Forgets those who hold nothing and have not been seen for an hour. */
void users_sweep(Users *us);

/* Why a user may not start another job now, as microseconds until it is worth asking again; 0: they may. Whether it
 * `would_wait` for a slot is the model's to say: a burst counts as waiting until the engine has heard of it. */
uint64_t user_refusal(User *u, bool would_wait, const char **ret_why);
void user_spend_tokens(User *u, uint64_t n);
/* Asked before memory is taken, on any thread: charges `n` bytes where no more than `most` is held then. */
bool user_charge(User *u, uint64_t n, uint64_t most);
