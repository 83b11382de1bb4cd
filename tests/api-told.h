/* Stand-ins for what an answer has around it: requests and jobs, which write down what they are told. Included before the
 * source that is tested. */
#pragma once

#include "unit.h"
#include "api/api-private.h"

typedef struct Told {
        unsigned refused;
        Buf written, replied;
        int begun, ended, aborted, cancelled;
} Told;

static Told told;
static bool full; /* the client does not read */
static ModelEntry model = {.name = (char *)"m"};
static User user;
static Request request = {.user = &user};
static Config config;
static Daemon the_daemon = {.config = &config};

const JobRefusal api_no_memory = {503, "out_of_memory", "no memory", 1000000};

void api_refuse(Request *r, const JobRefusal *why) {
        (void)r;
        assert_true(told.refused == 0 && told.begun == 0);
        told.refused = why->status;
}

void request_stream_begin(Request *r, unsigned status, const char *type) {
        (void)r, (void)type;
        assert_int_equal(status, 200);
        told.begun++;
}

void request_write(Request *r, const void *data, size_t len) {
        (void)r;
        assert_int_equal(told.begun, 1);
        buf_put(&told.written, data, len);
}

void request_end(Request *r) {
        (void)r;
        told.ended++;
}

void request_abort(Request *r) {
        (void)r;
        told.aborted++;
}

bool request_is_full(const Request *r) {
        (void)r;
        return full;
}

static JobSpec the_spec;
static Job jobs[2];
static int n_jobs;
static const JobEvents *told_events;

JobSpec *job_spec_new(const Daemon *d, User *u, ModelEntry *m, IpcJob *job, uint64_t keep_alive, uint64_t deadline,
                      JobRefusal *why) {
        (void)d, (void)u, (void)m, (void)job, (void)keep_alive, (void)deadline, (void)why;
        return &the_spec;
}

void job_spec_unref(JobSpec *s) {
        (void)s;
}

int job_submit(Daemon *d, JobSpec *s, uint64_t seed, const JobEvents *events, void *owner, Job **ret, JobRefusal *why) {
        (void)d, (void)s, (void)seed, (void)why;
        told_events = events;
        jobs[n_jobs].owner = owner;
        *ret = &jobs[n_jobs++];
        return 0;
}

void job_cancel(Job *j) {
        (void)j;
        told.cancelled++;
}

const JobRefusal *job_memory_refusal(uint64_t n, uint64_t most) {
        static const JobRefusal too_large = {413, "x", "x", 0}, too_much = {429, "x", "x", 0};
        return n > most ? &too_large : &too_much;
}

/* Before each answer: nothing was told, the user holds nothing. */
static inline void begin_anew(uint64_t memory_per_user) {
        buf_deinit(&told.written);
        buf_deinit(&told.replied);
        told = (Told){0};
        n_jobs = 0;
        full = false;
        user.held = 0;
        request = (Request){.user = &user};
        config.limits.memory_per_user = memory_per_user;
}
