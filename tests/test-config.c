/* What the daemon is told: defaults, values, every mistake's message, and that printing reads back to the same. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>

#include "daemon/config.h"
#include "unit.h"
#include "util/str.h"

#define ADDRESS "an address and port such as 127.0.0.1:11434 or [::1]:11434"
#define MIB (1u << 20)
#define SECOND UINT64_C(1000000)
#define MINUTE (60 * SECOND)

/* Loads text from a file that exists only in memory; the name it has in messages is put in `file`. */
static int load(const char *text, size_t len, Config **ret, Error *e, char file[32]) {
        _cleanup_close_ int fd = memfd_create("config", MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, len), len);
        snprintf(file, 32, "/proc/self/fd/%d", fd);
        return config_load(file, ret, e);
}

static Config *must_load(const char *text, size_t len) {
        Config *c = NULL;
        Error e = ERROR_NULL;
        char file[32];
        if (load(text, len, &c, &e, file) < 0)
                fail_msg("%s", e.text);
        return c;
}

static char *read_source(const char *name) {
        const char *top = getenv("top_srcdir");
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", top ? top : ".", name);
        FILE *f = fopen(path, "re");
        if (!f)
                fail_msg("%s: %s", path, strerror(errno));
        char *text = calloc(1, MIB);
        assert_true(fread(text, 1, MIB - 1, f) > 0);
        fclose(f);
        return text;
}

/* The sample with its options uncommented: "##" starts prose. */
static char *read_sample(void) {
        char *text = read_source("etc/zerollamad.yaml"), *to = text;
        for (char *line = text, *next; *line; line = next) {
                next = line + strcspn(line, "\n");
                next += *next == '\n';
                line += line[0] == '#' && line[1] != '#';
                memmove(to, line, (size_t)(next - line));
                to += next - line;
        }
        *to = 0;
        return text;
}

static void check_defaults(const Config *c) {
        const ConfigPool *p = &c->pools[0];
        assert_int_equal(c->n_pools, 1);
        assert_string_equal(p->name, "default");
        assert_string_equal(p->device, "auto");
        assert_false(p->require);
        assert_int_equal(p->threads, 0);
        assert_int_equal(p->streams, 1);
        assert_int_equal(p->memory, 0);
        assert_int_equal(p->memory_percent, 90);
        assert_int_equal(p->idle_exit, 5 * MINUTE);
        const ConfigModel *m = &c->model_defaults;
        assert_null(m->name);
        assert_null(m->path);
        assert_string_equal(m->pool, "default");
        assert_int_equal(m->slots, 16);
        assert_int_equal(m->context, 0);
        assert_int_equal(m->batch_tokens, 512);
        assert_int_equal(m->batch_wait, 2000);
        assert_int_equal(m->precision, CONFIG_FLOAT32);
        assert_int_equal(m->queue, 1024);
        assert_int_equal(m->queue_timeout, 5 * MINUTE);
        assert_true(m->deadline == UINT64_MAX);
        assert_int_equal(m->keep_alive, 5 * MINUTE);
        const ConfigUser *u = &c->user_defaults;
        assert_true(u->weight == 1);
        assert_int_equal(u->jobs + u->queue + u->tokens_per_minute, 0);
        assert_int_equal(u->priority, PRIORITY_INTERACTIVE);
        const ConfigLimits *l = &c->limits;
        assert_int_equal(l->connections, 16384);
        assert_int_equal(l->connections_per_user, 4096);
        assert_int_equal(l->header_size, 8 * 1024);
        assert_int_equal(l->body_size, 16 * MIB);
        assert_int_equal(l->memory_per_user, 512 * MIB);
        assert_int_equal(l->idle_timeout, 10 * MINUTE);
        assert_int_equal(l->request_timeout, 30 * SECOND);
        assert_int_equal(l->drain_timeout, 25 * SECOND);
        assert_int_equal(l->restarts, 3);
        assert_int_equal(l->stall_timeout, 30 * SECOND);
        assert_int_equal(c->idle_exit, 10 * MINUTE);
        assert_int_equal(c->log_level, LOG_LEVEL_INFO);
}

static void test_defaults(void **state) {
        static const char *const empty[] = {"", "# nothing\n", "{}\n"};
        for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
                _cleanup_(config_freep) Config *c = must_load(empty[i], strlen(empty[i]));
                check_defaults(c);
                assert_int_equal(c->n_models + c->n_users + c->n_groups, 0);
                assert_int_equal(c->n_listen, 1);
                assert_int_equal(c->listen[0].mode, 0666);
                assert_null(c->listen[0].host);
        }
}

static void test_sample(void **state) {
        _cleanup_free_ char *text = read_sample();
        _cleanup_(config_freep) Config *c = must_load(text, strlen(text));
        check_defaults(c);
        assert_int_equal(c->n_listen, 2);
        assert_int_equal(c->n_models, 1);
        assert_int_equal(c->models[0].n_aliases, 2);
        assert_int_equal(c->models[0].slots, c->model_defaults.slots);
        assert_int_equal(c->n_users, 2);
        assert_int_equal(c->n_groups, 2);
        _cleanup_free_ char *commented = read_source("etc/zerollamad.yaml");
        _cleanup_(config_freep) Config *d = must_load(commented, strlen(commented));
        check_defaults(d);
        assert_int_equal(d->n_models + d->n_users + d->n_groups, 0);
}

/* Where things are follows who runs us; systemd's word counts most. */
static void test_paths(void **state) {
        unsetenv("RUNTIME_DIRECTORY");
        unsetenv("STATE_DIRECTORY");
        setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        setenv("HOME", "/home/x", 1);
        bool root = geteuid() == 0;
        _cleanup_(config_freep) Config *own = must_load("", 0);
        assert_string_equal(own->listen[0].unix_path,
                            root ? RUNSTATEDIR "/zerollama/api.sock" : "/run/user/7/zerollama/api.sock");
        assert_string_equal(own->models_path,
                            root ? LOCALSTATEDIR "/lib/zerollama/models" : "/home/x/.local/share/zerollama/models");
        setenv("RUNTIME_DIRECTORY", "/run/zerollama:/run/other", 1);
        setenv("STATE_DIRECTORY", "/var/lib/private/zerollama", 1);
        _cleanup_(config_freep) Config *service = must_load("", 0);
        assert_string_equal(service->listen[0].unix_path, "/run/zerollama/api.sock");
        assert_string_equal(service->models_path, "/var/lib/private/zerollama/models");
        unsetenv("RUNTIME_DIRECTORY");
        unsetenv("STATE_DIRECTORY");
}

static void check_full_models(const Config *c) {
        const ConfigModel *q = &c->models[0], *n = &c->models[1];
        assert_int_equal(c->n_models, 2);
        assert_string_equal(q->name, "qwen2.5:0.5b");
        assert_int_equal(q->n_aliases, 2);
        assert_string_equal(q->aliases[1], "größer");
        assert_string_equal(q->path, "~/x.gguf");
        assert_string_equal(q->pool, "cpu");
        assert_int_equal(q->slots, 4);
        assert_int_equal(q->context, 4096);
        assert_int_equal(q->batch_tokens, 64);
        assert_int_equal(q->batch_wait, 500);
        assert_int_equal(q->precision, CONFIG_INT16);
        assert_int_equal(q->queue, 0);
        assert_int_equal(q->queue_timeout, 1500000);
        assert_int_equal(q->deadline, 120 * MINUTE);
        assert_int_equal(q->keep_alive, 0);
        assert_string_equal(n->name, "null");
        assert_string_equal(n->path, "null.gguf");
        assert_string_equal(n->pool, "gpu");
        assert_int_equal(n->slots, 4);
        assert_int_equal(n->keep_alive, 90 * MINUTE);
        assert_int_equal(n->n_aliases, 0);
}

static void test_full(void **state) {
        _cleanup_free_ char *text = read_source("tests/data/config/full.yaml");
        _cleanup_(config_freep) Config *c = must_load(text, strlen(text));
        assert_int_equal(c->n_listen, 3);
        assert_int_equal(c->listen[0].mode, 0660);
        assert_string_equal(c->listen[0].owner, "root");
        assert_null(c->listen[1].unix_path);
        assert_string_equal(c->listen[1].host, "127.0.0.1");
        assert_int_equal(c->listen[1].port, 11434);
        assert_string_equal(c->listen[2].host, "[::]");
        assert_string_equal(c->listen[2].key_file, "/etc/zerollama/key");
        assert_string_equal(c->models_path, "/srv/models: old and new");
        const ConfigPool *gpu = config_pool(c, "gpu"), *cpu = config_pool(c, "cpu");
        assert_null(config_pool(c, "default"));
        assert_string_equal(gpu->device, "cuda:1");
        assert_true(gpu->require);
        assert_int_equal(gpu->threads, 4);
        assert_int_equal(gpu->streams, 2);
        assert_int_equal(gpu->memory, 1536 * (uint64_t)MIB);
        assert_int_equal(gpu->memory_percent, 0);
        assert_true(gpu->idle_exit == UINT64_MAX);
        assert_int_equal(cpu->memory, 0);
        assert_int_equal(cpu->memory_percent, 50);
        check_full_models(c);
        assert_int_equal(c->limits.header_size, 10000);
        assert_int_equal(c->limits.body_size, MIB + 1);
        assert_true(c->idle_exit == UINT64_MAX);
        assert_int_equal(c->limits.drain_timeout, 23 * 60 * MINUTE + 1000);
        assert_int_equal(c->limits.idle_timeout, 10 * MINUTE);
        assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
}

static void test_user(void **state) {
        _cleanup_free_ char *text = read_source("tests/data/config/full.yaml");
        _cleanup_(config_freep) Config *c = must_load(text, strlen(text));
        const gid_t both[] = {7, 100, 101}, one[] = {100}, none[] = {7};
        ConfigUser root = config_user(c, 0, both, 3), unnamed = config_user(c, 4294967294u, NULL, 0);
        assert_string_equal(root.name, "root");
        assert_true(root.weight == 3.14159265358979);
        assert_int_equal(root.jobs, 8);
        assert_int_equal(root.queue, 2);
        assert_int_equal(root.tokens_per_minute, 1000000000);
        assert_int_equal(root.priority, PRIORITY_INTERACTIVE);
        assert_int_equal(unnamed.priority, PRIORITY_BATCH);
        assert_null(unnamed.name);
        assert_true(unnamed.weight == 0.1);
        ConfigUser best = config_user(c, 1, both, 3);
        assert_true(best.weight == 4);
        assert_int_equal(best.jobs, 1);
        assert_true(config_user(c, 1, one, 1).weight == 2);
        assert_int_equal(config_user(c, 1, one, 1).jobs, 8);
        assert_true(config_user(c, 1, none, 1).weight == 0.1);
}

static void test_user_names(void **state) {
        const struct passwd *pw = getpwnam("daemon");
        const struct group *gr = getgrnam("daemon");
        if (!pw || !gr)
                skip();
        static const char text[] = "users: [{name: daemon, jobs: 3}]\ngroups: [{name: daemon, jobs: 5}]\n";
        _cleanup_(config_freep) Config *c = must_load(text, strlen(text));
        assert_int_equal(c->users[0].id, pw->pw_uid);
        assert_int_equal(c->groups[0].id, gr->gr_gid);
        assert_int_equal(config_user(c, pw->pw_uid, NULL, 0).jobs, 3);
        assert_int_equal(config_user(c, pw->pw_uid + 1, &gr->gr_gid, 1).jobs, 5);
}

/* Printing is complete and stable: what it prints loads, and prints the same. */
static void check_round_trip(const Config *c) {
        _cleanup_buf_ Buf first = BUF_NULL, second = BUF_NULL;
        assert_int_equal(config_print(c, &first), 0);
        _cleanup_(config_freep) Config *again = must_load(first.data, first.len);
        assert_int_equal(config_print(again, &second), 0);
        assert_string_equal(first.data, second.data);
        assert_memory_equal(&c->limits, &again->limits, sizeof(c->limits));
        assert_int_equal(c->n_users, again->n_users);
        assert_int_equal(c->n_models, again->n_models);
}

static void test_round_trip(void **state) {
        _cleanup_free_ char *full = read_source("tests/data/config/full.yaml"), *sample = read_sample();
        const char *texts[] = {"", full, sample};
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(config_freep) Config *c = must_load(texts[i], strlen(texts[i]));
                check_round_trip(c);
        }
        _cleanup_(config_freep) Config *c = must_load(full, strlen(full));
        _cleanup_buf_ Buf out = BUF_NULL;
        assert_int_equal(config_print(c, &out), 0);
        _cleanup_(config_freep) Config *again = must_load(out.data, out.len);
        check_full_models(again);
        assert_int_equal(again->listen[0].mode, 0660);
        assert_true(again->users[0].weight == c->users[0].weight);
        assert_int_equal(again->users[1].id, 4294967294u);
}

static const struct {
        const char *text;
        const char *message; /* after the file's name */
} mistakes[] = {
        /* keys */
        {"lisen: []\n", ":1:1: unknown key 'lisen', did you mean 'listen'?"},
        {"log:\n  level: info\n  colour: red\n", ":3:3: log: unknown key 'colour'"},
        {"pools:\n  - name: a\n  - name: b\n    thread: 3\n",
         ":4:5: pools[1]: unknown key 'thread', did you mean 'threads'?"},
        {"limits:\n  restarts: 1\n  restarts: 2\n", ":3:3: limits.restarts: given twice"},
        {"log: {level: info}\nmodels: []\nlog: {level: info}\n", ":3:1: log: given twice"},
        {"x: &x {slots: 3}\nmodel_defaults: {<<: *x}\n", ":1:1: unknown key 'x'"},
        {"model_defaults:\n  <<: {slots: 3}\n", ":2:3: model_defaults: unknown key '<<'"},
        {"models:\n  - path: x\n", ":2:5: models[0]: a key is missing: expected 'name'"},
        {"pools: [{}]\n", ":1:9: pools[0]: a key is missing: expected 'name'"},
        {"? [a]\n: b\n", ":1:3: expected a word as key"},
        /* shapes */
        {"- listen\n", ":1:1: expected a mapping of keys to values (got a list)"},
        {"hello\n", ":1:1: expected a mapping of keys to values (got 'hello')"},
        {"---\n", ":2:1: expected a mapping of keys to values (got nothing)"},
        {"pools: 3\n", ":1:8: pools: expected a list (got '3')"},
        {"pools: {name: a}\n", ":1:8: pools: expected a list (got a mapping)"},
        {"pools:\n  - a\n", ":2:5: pools[0]: expected a mapping of keys to values (got 'a')"},
        {"pools: []\n", ":1:8: pools: expected at least one entry"},
        {"limits:\n", ":1:8: limits: expected a mapping of keys to values (got nothing)"},
        {"log: {level: [info]}\n", ":1:14: log.level: expected a single value (got a list)"},
        {"models:\n  - {name: a, aliases: b}\n", ":2:24: models[0].aliases: expected a list (got 'b')"},
        {"models:\n  - {name: a, aliases: [b, {c: d}]}\n",
         ":2:28: models[0].aliases[1]: expected a single value (got a mapping)"},
        /* values */
        {"log: {level: loud}\n", ":1:14: log.level: expected error, warning, notice, info or debug (got 'loud')"},
        {"limits: {restarts: }\n", ":1:20: limits.restarts: expected a whole number from 0 to 100 (got nothing)"},
        {"limits: {restarts: -1}\n", ":1:20: limits.restarts: expected a whole number from 0 to 100 (got '-1')"},
        {"limits: {restarts: 101}\n", ":1:20: limits.restarts: expected a whole number from 0 to 100 (got '101')"},
        {"limits: {restarts: 99999999999999999999}\n",
         ":1:20: limits.restarts: expected a whole number from 0 to 100 (got '99999999999999999999')"},
        {"limits:\n  body_size: 16 potatoes\n",
         ":2:14: limits.body_size: expected a size from 1KiB to 128MiB (got '16 potatoes')"},
        {"limits:\n  body_size: 5GiB\n", ":2:14: limits.body_size: expected a size from 1KiB to 128MiB (got '5GiB')"},
        {"limits:\n  stall_timeout: forever\n",
         ":2:18: limits.stall_timeout: expected a duration from 1s to 1d (got 'forever')"},
        {"model_defaults: {queue_timeout: 10ms}\n",
         ":1:33: model_defaults.queue_timeout: expected a duration from 1s, or forever (got '10ms')"},
        {"model_defaults: {keep_alive: 4000d}\n",
         ":1:30: model_defaults.keep_alive: expected a duration from 0s, or forever (got '4000d')"},
        {"pools: [{name: a b}]\n",
         ":1:16: pools[0].name: expected a name of at most 128 bytes, without spaces (got 'a b')"},
        {"pools: [{name: a, device: gpu}]\n", ":1:27: pools[0].device: expected auto, cpu or cuda:N (got 'gpu')"},
        {"pools: [{name: a, device: 'cuda:'}]\n", ":1:27: pools[0].device: expected auto, cpu or cuda:N (got 'cuda:')"},
        {"pools: [{name: a, require: maybe}]\n", ":1:28: pools[0].require: expected true or false (got 'maybe')"},
        {"pools: [{name: a, memory: 0%}]\n",
         ":1:27: pools[0].memory: expected a size of at least 1MiB, or a percentage from 1% to 100% (got '0%')"},
        {"pools: [{name: a, memory: 101%}]\n",
         ":1:27: pools[0].memory: expected a size of at least 1MiB, or a percentage from 1% to 100% (got '101%')"},
        {"user_defaults: {weight: 0}\n", ":1:25: user_defaults.weight: expected a number from 0.001 to 1000 (got '0')"},
        {"user_defaults: {weight: nan}\n",
         ":1:25: user_defaults.weight: expected a number from 0.001 to 1000 (got 'nan')"},
        {"user_defaults: {priority: low}\n",
         ":1:27: user_defaults.priority: expected interactive or batch (got 'low')"},
        {"models_path: models\n", ":1:14: models_path: expected an absolute path (got 'models')"},
        {"models: [{name: a, path: ''}]\n", ":1:26: models[0].path: expected a path (got nothing)"},
        {"models_path: \"a\\tb\\x1b[2J and much more than anybody wants to read\"\n",
         ":1:14: models_path: expected an absolute path (got 'a?b?[2J and much more than anybody wants to ...')"},
        /* listen */
        {"listen: [{mode: 0600}]\n", ":1:10: listen[0]: expected either 'unix' or 'tcp'"},
        {"listen:\n  - unix: /a\n    tcp: 127.0.0.1:1\n", ":2:5: listen[0]: expected either 'unix' or 'tcp'"},
        {"listen:\n  - unix: /a\n    mode: 0888\n",
         ":3:11: listen[0].mode: expected an octal mode such as 0660 (got '0888')"},
        {"listen:\n  - unix: /a\n    mode: 7777\n",
         ":3:11: listen[0].mode: expected an octal mode such as 0660 (got '7777')"},
        {"listen:\n  - unix: /a\n    owner: no-such-user\n",
         ":3:12: listen[0].owner: expected a user of this machine (got 'no-such-user')"},
        {"listen:\n  - tcp: 127.0.0.1:1\n    mode: 0600\n", ":3:11: listen[0].mode: expected only with 'unix'"},
        {"listen:\n  - unix: /a\n    key_file: /b\n", ":3:15: listen[0].key_file: expected only with 'tcp'"},
        {"listen:\n  - tcp: 0.0.0.0:80\n",
         ":2:10: listen[0].tcp: expected a 'key_file' beside an address others can reach (got '0.0.0.0:80')"},
        {"listen:\n  - tcp: localhost:80\n",
         ":2:10: listen[0].tcp: expected " ADDRESS " (got 'localhost:80')"},
        {"listen:\n  - tcp: 127.0.0.1:65536\n",
         ":2:10: listen[0].tcp: expected " ADDRESS " (got '127.0.0.1:65536')"},
        {"listen: [unix: /a, unix: /b, unix: /a]\n", ":1:30: listen[2]: this address was given before"},
        /* names and references */
        {"pools: [name: a, name: b, name: a]\n", ":1:33: pools[2].name: this name was given before"},
        {"models: [{name: a, aliases: [b]}, {name: b}]\n", ":1:42: models[1].name: this name was given before"},
        {"models: [{name: a, aliases: [b, a]}]\n", ":1:33: models[0].aliases[1]: this name was given before"},
        {"models: [{name: a, pool: gpu}]\n", ":1:26: models[0].pool: expected the name of a pool (got 'gpu')"},
        {"model_defaults: {pool: gpu}\n", ":1:24: model_defaults.pool: expected the name of a pool (got 'gpu')"},
        {"users: [{name: no-such-user}]\n",
         ":1:16: users[0].name: expected a user of this machine (got 'no-such-user')"},
        {"groups: [{name: no-such-group}]\n",
         ":1:17: groups[0].name: expected a group of this machine (got 'no-such-group')"},
        {"users: [{name: root}, {id: 0}]\n", ":1:23: users[1]: this user was given before"},
        {"users: [{jobs: 1}]\n", ":1:9: users[0]: expected either 'name' or 'id'"},
        {"users: [{id: 4294967295}]\n",
         ":1:14: users[0].id: expected a whole number from 0 to 4294967294 (got '4294967295')"},
        /* YAML */
        {"listen: [\n", ":2:1: not valid YAML: did not find expected node content while parsing a flow node"},
        {"log:\n\tlevel: info\n",
         ":2:1: not valid YAML: found character that cannot start any token while scanning for the next token"},
        {"log: {level: inf\xff}\n", ":1:17: not valid YAML: invalid leading UTF-8 octet"},
        {"# \xc3\xa9\xc3\xa9 \x01\n", ":1:6: not valid YAML: control characters are not allowed"},
        {"log: {level: \"in\\0fo\"}\n", ":1:14: expected text without NUL characters"},
        {"log: *nothing\n", ":1:6: not valid YAML: found undefined alias"},
        {"log: {level: info}\n---\nlog: {level: info}\n", ":2:1: expected one document, but a second one starts here"},
        {"&a [*a]\n", ":1:1: nested more than 16 deep once its aliases are followed"},
        {"models: [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]\n", ":1:24: nested more than 16 deep"},
        {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
         ":1:16: too large once its aliases are followed"},
};

static void test_mistakes(void **state) {
        int wrong = 0;
        for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
                Config *c = NULL;
                Error e = ERROR_NULL;
                char file[32];
                int r = load(mistakes[i].text, strlen(mistakes[i].text), &c, &e, file);
                size_t n = strlen(file);
                if (r == -EINVAL && !c && strncmp(e.text, file, n) == 0 && strcmp(e.text + n, mistakes[i].message) == 0)
                        continue;
                print_error("%s gave %d\n  %s\n  %s\n", mistakes[i].text, r, e.text + n, mistakes[i].message);
                config_free(c);
                wrong++;
        }
        assert_int_equal(wrong, 0);
}

static void expect_error(const char *text, size_t len, const char *message) {
        Config *c = NULL;
        Error e = ERROR_NULL;
        char file[32];
        assert_int_equal(load(text, len, &c, &e, file), -EINVAL);
        assert_null(c);
        assert_string_equal(e.text + strlen(file), message);
}

static void test_size(void **state) {
        _cleanup_free_ char *text = malloc(2 * MIB);
        memset(text, '#', 2 * MIB);
        expect_error(text, MIB + 1, ": larger than 1 MiB, which no configuration is");
        _cleanup_(config_freep) Config *c = must_load(text, MIB);
        check_defaults(c);
        expect_error("log: {level: in\0fo}\n", 20, ":1:16: not valid YAML: control characters are not allowed");
        int n = snprintf(text, MIB, "models_path: /");
        memset(text + n, 'x', 5000);
        expect_error(text, (size_t)n + 5000, ":1:14: models_path: expected at most 4096 bytes");
        n = snprintf(text, MIB, "models:\n");
        for (int i = 0; i <= 4096; i++)
                n += snprintf(text + n, MIB - (size_t)n, "- {name: m%d}\n", i);
        expect_error(text, (size_t)n, ":2:1: models: expected at most 4096 entries");
}

/* Texts that cost a naive reader minutes. */
static void test_expensive(void **state) {
        _cleanup_free_ char *text = malloc(MIB);
        memset(text, '[', MIB);
        expect_error(text, MIB, ":1:17: nested more than 16 deep");
        int n = snprintf(text, MIB, "models: [");
        for (int i = 0; i <= 1000; i++)
                n += snprintf(text + n, MIB - (size_t)n, "\n&a%d x,", i);
        expect_error(text, (size_t)n, ":1002:1: expected at most 1000 anchors");
        n = snprintf(text, MIB, "models: [&a {name: %0500d}", 0);
        while (n < 500000)
                n += snprintf(text + n, MIB - (size_t)n, ", *a");
        text[n++] = ']';
        expect_error(text, (size_t)n, ":1:10: too large once its aliases are followed");
}

static void test_unreadable(void **state) {
        Config *c = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(config_load("/nonexistent/x.yaml", &c, &e), -ENOENT);
        assert_string_equal(e.text, "/nonexistent/x.yaml: cannot be opened: No such file or directory");
        assert_int_equal(config_load("/", &c, &e), -EISDIR);
        assert_string_equal(e.text, "/: cannot be read: Is a directory");
        assert_null(c);
}

/* Only the default file may be absent, and that is no error. */
static void test_absent(void **state) {
        if (access(SYSCONFDIR "/zerollama/zerollamad.yaml", F_OK) == 0)
                skip();
        _cleanup_(config_freep) Config *c = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(config_load(NULL, &c, &e), 0);
        assert_string_equal(e.text, "");
        check_defaults(c);
}

static uint64_t next_random(uint64_t *s) {
        *s ^= *s << 13;
        *s ^= *s >> 7;
        *s ^= *s << 17;
        return *s;
}

/* One random edit: a byte changed, a span dropped or doubled, or something that means something to YAML put in. */
static void mutate(Buf *b, uint64_t *seed) {
        static const char *const pieces[] = {
                "&a ", "*a", ": ", "- ", "[", "]", "{", "}", "\n", "\n  ", "\"", "'", "null", "~", "---\n", "? ",
                "<<: *a\n", "!!int ", "| \n", "\xff", "\xc3\xa9", "99999999999", "%",
        };
        size_t at = next_random(seed) % b->len, n = 1 + next_random(seed) % MIN(60, b->len - at);
        const char *piece = pieces[next_random(seed) % ARRAY_SIZE(pieces)];
        Buf out = BUF_NULL;
        buf_put(&out, b->data, at);
        switch (next_random(seed) % 4) {
        case 0:
                buf_putc(&out, (char)next_random(seed));
                n = 1;
                break;
        case 1:
                break;
        case 2:
                buf_put(&out, b->data + at, n);
                n = 0;
                break;
        default:
                buf_puts(&out, piece);
                n = 0;
        }
        buf_put(&out, b->data + at + n, b->len - at - n);
        assert_false(out.failed);
        buf_deinit(b);
        *b = out;
}

/* Whatever the text, it either loads, and then prints to what loads again, or the message says where it is wrong. */
static void test_mutations(void **state) {
        _cleanup_free_ char *sample = read_sample(), *full = read_source("tests/data/config/full.yaml");
        uint64_t seed = 0x9e3779b97f4a7c15;
        int loaded = 0, refused = 0;
        for (int i = 0; i < 2500; i++) {
                _cleanup_buf_ Buf b = BUF_NULL;
                buf_puts(&b, i % 2 ? sample : full);
                for (uint64_t edits = 1 + next_random(&seed) % 4; edits && b.len; edits--)
                        mutate(&b, &seed);
                _cleanup_(config_freep) Config *c = NULL;
                Error e = ERROR_NULL;
                char file[32];
                int r = load(b.data, b.len, &c, &e, file), line = 0, column = 0;
                if (r == 0)
                        check_round_trip(c);
                else if (r != -EINVAL || sscanf(e.text + strlen(file), ":%d:%d: ", &line, &column) != 2 || line < 1)
                        fail_msg("%d %s\n%s", r, e.text, b.data);
                loaded += r == 0;
                refused += r < 0;
        }
        assert_true(loaded > 100 && refused > 100);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),   cmocka_unit_test(test_sample),    cmocka_unit_test(test_paths),
                cmocka_unit_test(test_full),       cmocka_unit_test(test_user),      cmocka_unit_test(test_user_names),
                cmocka_unit_test(test_round_trip), cmocka_unit_test(test_mistakes),  cmocka_unit_test(test_size),
                cmocka_unit_test(test_expensive),  cmocka_unit_test(test_absent),    cmocka_unit_test(test_unreadable),
                cmocka_unit_test(test_mutations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
