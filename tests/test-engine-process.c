/* The engine's program, spoken to over its socket in plain order: how it starts and ends, what it says of models, and
 * that no frame, however wrong, ends it by a signal. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"
#include "ipc/ipc.h"
#include "util/log.h"

#define STORIES "models/stories260K-f32.gguf"
#define BABY "models/babyllama105-f16.gguf"

extern char **environ;

typedef union Message {
        IpcHello hello;
        IpcModelState state;
        IpcStart start;
        IpcPiece piece;
        IpcFail fail;
        IpcShown shown;
        IpcStats stats;
        IpcModelStats model_stats;
} Message;

typedef struct Peer {
        pid_t pid;
        int fd;
        void *body; /* of the last message: what a Message points into */
} Peer;

static void start(Peer *p) {
        int fds[2];
        char path[4096], arg0[] = "zerollama-engine", arg1[] = "--ipc-fd=3", *argv[] = {arg0, arg1, NULL};
        const char *dir = getenv("top_builddir");
        posix_spawn_file_actions_t actions;
        struct timeval patience = {.tv_sec = 60};
        snprintf(path, sizeof(path), "%s/zerollama-engine", dir ? dir : ".");
        *p = (Peer){0};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[1], 3);
        assert_int_equal(posix_spawn(&p->pid, path, &actions, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        close(fds[1]);
        p->fd = fds[0];
        setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static bool send_bytes(Peer *p, const void *data, size_t n) {
        return send(p->fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void tell(Peer *p, IpcType type, const void *message) {
        _cleanup_buf_ Buf frame = BUF_NULL;
        assert_int_equal(ipc_encode(&frame, type, message), 0);
        assert_true(send_bytes(p, frame.data, frame.len));
}

static bool read_all(int fd, void *data, size_t n) {
        for (size_t got = 0; got < n;) {
                ssize_t r = recv(fd, (char *)data + got, n - got, 0);
                if (r <= 0)
                        return false;
                got += (size_t)r;
        }
        return true;
}

/* The next message, or 0 at the end. */
static IpcType next(Peer *p, Message *ret) {
        struct {
                uint32_t len;
                uint16_t type, zero;
        } head;
        if (!read_all(p->fd, &head, sizeof(head)))
                return 0;
        free(p->body);
        p->body = malloc(head.len + 1);
        assert_true(read_all(p->fd, p->body, head.len));
        assert_int_equal(ipc_decode((IpcType)head.type, p->body, head.len, ret), 0);
        return (IpcType)head.type;
}

static void wait_for(Peer *p, IpcType type, Message *ret) {
        for (IpcType got; (got = next(p, ret)) != type;)
                assert_int_not_equal(got, 0);
}

/* The state that ends a change of model `name`. */
static IpcModelPhase wait_state(Peer *p, const char *name, Message *ret) {
        do
                wait_for(p, IPC_MODEL_STATE, ret);
        while (ret->state.phase == IPC_MODEL_LOADING || ret->state.name.len != strlen(name) ||
               memcmp(ret->state.name.data, name, strlen(name)) != 0);
        return (IpcModelPhase)ret->state.phase;
}

/* How it ended: the exit status, or minus the signal. */
static int end(Peer *p) {
        int status;
        assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
        close(p->fd);
        free(p->body);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void set_up(Peer *p, uint64_t memory, Message *ret) {
        IpcSetup setup = {.device = ipc_str("auto"), .threads = 1, .memory = memory, .log_level = LOG_LEVEL_ERROR};
        tell(p, IPC_SETUP, &setup);
        wait_for(p, IPC_HELLO, ret);
        assert_int_equal(ret->hello.error.len, 0);
}

static void define(Peer *p, const char *name, const char *path, uint32_t context) {
        IpcModel m = {.name = ipc_str(name), .path = ipc_str(path), .slots = 1, .context = context, .batch_tokens = 16};
        tell(p, IPC_MODEL, &m);
}

static void quit(Peer *p) {
        tell(p, IPC_QUIT, &(IpcEmpty){0});
        assert_int_equal(end(p), 0);
}

static IpcJob job(uint64_t id, const char *model, int32_t max_tokens) {
        return (IpcJob){.id = id, .weight = 1, .model = ipc_str(model), .prompt = ipc_str("Once"), .add_special = true,
                        .max_tokens = max_tokens, .ignore_eos = true, .top_p = 1, .repeat_penalty = 1, .n_top = -1};
}

static void wait_finish(Peer *p, uint64_t id, Message *m) {
        do {
                wait_for(p, IPC_PIECE, m);
        } while (m->piece.id != id || m->piece.finish == IPC_FINISH_NONE);
}

/* ---- life ---- */

static void test_hello_and_quit(void **state) {
        Peer p;
        Message m;
        start(&p);
        set_up(&p, 0, &m);
        assert_int_equal(m.hello.version, IPC_VERSION);
        assert_memory_equal(m.hello.device.data, "CPU", 3);
        assert_true(m.hello.memory > 0);
        quit(&p);
}

static void test_daemon_goes(void **state) {
        Peer p;
        Message m;
        start(&p);
        set_up(&p, 0, &m);
        shutdown(p.fd, SHUT_RDWR);
        assert_int_equal(end(&p), 0);
}

static void test_no_such_device(void **state) {
        Peer p;
        Message m;
        IpcSetup setup = {.device = ipc_str("cuda:0"), .require = true, .threads = 1, .log_level = LOG_LEVEL_ERROR};
        start(&p);
        tell(&p, IPC_SETUP, &setup);
        wait_for(&p, IPC_HELLO, &m);
        assert_true(m.hello.error.len > 0);
        assert_int_equal(next(&p, &m), 0);
        assert_int_equal(end(&p), 1);
        start(&p);
        setup.require = false;
        setup.log_level = LOG_LEVEL_WARNING;
        tell(&p, IPC_SETUP, &setup);
        wait_for(&p, IPC_HELLO, &m);
        assert_int_equal(m.hello.error.len, 0);
        assert_true(m.hello.note.len > 0);
        quit(&p);
}

static void test_broken_contract(void **state) {
        Peer p;
        IpcName name = {ipc_str("m")};
        start(&p);
        tell(&p, IPC_LOAD, &name); /* before SETUP */
        assert_int_equal(end(&p), 1);
}

/* ---- models ---- */

static void test_load_unload(void **state) {
        skip_without(STORIES);
        Peer p;
        Message m;
        IpcName name = {ipc_str("m")};
        start(&p);
        set_up(&p, 1 << 28, &m);
        define(&p, "m", test_data(STORIES), 64);
        tell(&p, IPC_UNLOAD, &name); /* it is not loaded, which is an answer too */
        assert_int_equal(wait_state(&p, "m", &m), IPC_MODEL_UNLOADED);
        for (int i = 0; i < 2; i++) {
                tell(&p, IPC_LOAD, &name);
                assert_int_equal(wait_state(&p, "m", &m), IPC_MODEL_LOADED);
                assert_int_equal(m.state.context, 64);
                assert_int_equal(m.state.kv, 64 * 5 * 2 * 32 * 4); /* layers, k and v, 4 heads of 8, float32 */
                assert_non_null(memmem(m.state.details.data, m.state.details.len, "\"260K\"", 6));
        }
        IpcJob j = job(1, "m", 40), later = job(2, "m", 2);
        tell(&p, IPC_JOB, &j);
        wait_for(&p, IPC_START, &m);
        tell(&p, IPC_UNLOAD, &name);
        tell(&p, IPC_JOB, &later);
        wait_finish(&p, 1, &m);
        assert_int_equal(m.piece.completion_tokens, 40);
        assert_int_equal(wait_state(&p, "m", &m), IPC_MODEL_UNLOADED);
        wait_finish(&p, 2, &m); /* loaded again for it */
        define(&p, "m", test_data(STORIES), 32); /* defined anew: what is loaded is not that any more */
        j = job(3, "m", -1);
        tell(&p, IPC_JOB, &j);
        assert_int_equal(wait_state(&p, "m", &m), IPC_MODEL_UNLOADED);
        assert_int_equal(wait_state(&p, "m", &m), IPC_MODEL_LOADED);
        wait_finish(&p, 3, &m);
        assert_int_equal(m.piece.prompt_tokens + m.piece.completion_tokens, 32);
        quit(&p);
}

/* Memory for one of two models: the idle one makes way; while it has jobs the other's are told so. */
static void test_two_models(void **state) {
        skip_without(STORIES);
        skip_without(BABY);
        Peer p;
        Message m;
        start(&p);
        set_up(&p, 3000000, &m);
        define(&p, "a", test_data(STORIES), 512);
        define(&p, "b", test_data(BABY), 64);
        for (uint64_t id = 1; id <= 3; id += 2) {
                IpcJob a = job(id, "a", 1), b = job(id + 1, "b", 1);
                tell(&p, IPC_JOB, &a);
                wait_finish(&p, id, &m);
                tell(&p, IPC_JOB, &b);
                assert_int_equal(wait_state(&p, "a", &m), IPC_MODEL_UNLOADED);
                assert_int_equal(wait_state(&p, "b", &m), IPC_MODEL_LOADED);
                wait_finish(&p, id + 1, &m);
        }
        for (uint64_t id = 10; id < 40; id++) {
                IpcJob a = job(id, "a", -1);
                tell(&p, IPC_JOB, &a);
        }
        wait_for(&p, IPC_START, &m);
        IpcJob b = job(50, "b", 1);
        tell(&p, IPC_JOB, &b);
        wait_for(&p, IPC_FAIL, &m);
        assert_int_equal(m.fail.id, 50);
        assert_int_equal(m.fail.code, IPC_E_BUSY);
        do
                wait_for(&p, IPC_STATS, &m); /* at least when it falls idle */
        while (m.stats.running + m.stats.waiting > 0);
        assert_true(m.stats.progress > 30 * 500);
        quit(&p);
}

/* Writes a copy of a model file with a chat template. The new metadata comes first and, with a comment at its end,
 * takes a multiple of the alignment, so that nothing else changes. */
static void add_template(const char *from, const char *to, const char *template) {
        static const char key[] = "tokenizer.chat_template";
        uint64_t n_kv, key_len = strlen(key), len = strlen(template), pad = -(key_len + len + 24) & 31,
                       total = len + 4 + pad;
        uint32_t string_type = 8;
        char *data = malloc(4 << 20);
        FILE *in = fopen(from, "re"), *out = fopen(to, "we");
        size_t n = fread(data, 1, 4 << 20, in);
        memcpy(&n_kv, data + 16, 8);
        n_kv++;
        memcpy(data + 16, &n_kv, 8);
        fwrite(data, 1, 24, out);
        fwrite(&key_len, 8, 1, out);
        fwrite(key, 1, key_len, out);
        fwrite(&string_type, 4, 1, out);
        fwrite(&total, 8, 1, out);
        fprintf(out, "%s{#%*s#}", template, (int)pad, "");
        fwrite(data + 24, 1, n - 24, out);
        fclose(in);
        assert_int_equal(fclose(out), 0);
        free(data);
}

static void run_chat(const char *template, const char *chat, Message *m, Peer *p, IpcType want) {
        char path[] = "test-engine-chat-XXXXXX.gguf";
        close(mkstemps(path, 5));
        char *full = realpath(path, NULL);
        add_template(test_data(STORIES), path, template);
        start(p);
        set_up(p, 1 << 28, m);
        define(p, "m", full, 0);
        IpcJob j = job(1, "m", 5);
        j.kind = IPC_PROMPT_CHAT;
        j.prompt = ipc_str(chat);
        tell(p, IPC_JOB, &j);
        wait_for(p, want, m);
        unlink(path);
        free(full);
}

static void test_chat(void **state) {
        skip_without(STORIES);
        static const char chat[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"upon\"}]}";
        Peer p;
        Message m;
        run_chat("{% for m in messages %}Once {{ m.content }}{% endfor %}{% if add_generation_prompt %} a time{% endif "
                 "%}",
                 chat, &m, &p, IPC_START);
        assert_int_equal(m.start.prompt_tokens, 5); /* BOS and the four of "Once upon a time" */
        wait_for(&p, IPC_PIECE, &m);
        assert_int_equal(m.piece.ids.data[0], 432); /* "," as in the reference */
        quit(&p);
        run_chat("{{ raise_exception('no such role') }}", chat, &m, &p, IPC_FAIL);
        assert_int_equal(m.fail.code, IPC_E_INVALID);
        assert_non_null(memmem(m.fail.text.data, m.fail.text.len, "no such role", 12));
        quit(&p);
        run_chat("{% for %}", chat, &m, &p, IPC_FAIL);
        assert_int_equal(m.fail.code, IPC_E_INVALID);
        assert_non_null(memmem(m.fail.text.data, m.fail.text.len, "chat template of model m", 24));
        quit(&p);
        run_chat("{{ messages }}", "[1]", &m, &p, IPC_FAIL);
        assert_int_equal(m.fail.code, IPC_E_INVALID);
        quit(&p);
}

static void test_show(void **state) {
        skip_without(STORIES);
        Peer p;
        Message m;
        IpcShow shows[] = {{1, ipc_str(test_data(STORIES))}, {2, ipc_str("/dev/null")}};
        start(&p);
        set_up(&p, 1 << 28, &m);
        tell(&p, IPC_SHOW, &shows[0]);
        wait_for(&p, IPC_SHOWN, &m);
        json_t *shown = json_loadb(m.shown.json.data, m.shown.json.len, 0, NULL),
               *info = json_object_get(shown, "model_info");
        assert_int_equal(m.shown.id, 1);
        assert_string_equal(json_string_value(json_object_get(json_object_get(shown, "details"), "family")), "llama");
        assert_int_equal(json_integer_value(json_object_get(info, "llama.context_length")), 512);
        assert_true(json_is_true(json_object_get(info, "tokenizer.ggml.add_bos_token")));
        assert_true(json_is_null(json_object_get(info, "tokenizer.ggml.tokens")));
        assert_true(json_is_real(json_object_get(info, "llama.rope.freq_base")));
        json_decref(shown);
        tell(&p, IPC_SHOW, &shows[1]);
        wait_for(&p, IPC_SHOWN, &m);
        assert_true(m.shown.error.len > 0);
        assert_int_equal(m.shown.json.len, 0);
        quit(&p);
}

/* ---- hostile frames ---- */

/* A valid message of the daemon, to be broken. */
static void put_valid(Buf *out) {
        static const int32_t ids[] = {1, 403, 407};
        static const float bias[] = {1, -INFINITY, 2};
        IpcJob j = job((uint64_t)rand() % 5, "m", rand() % 20);
        IpcModel def = {.name = ipc_str("m"), .path = ipc_str(test_data(STORIES)), .slots = 2, .context = 64};
        IpcName name = {ipc_str("m")};
        IpcId id = {(uint64_t)rand() % 5};
        IpcShow show = {7, ipc_str(test_data(STORIES))};
        j.prompt_ids = j.bias_ids = j.produced = (IpcInts){ids, 3};
        j.bias = (IpcFloats){bias, 3};
        j.kind = (uint32_t)rand() % 4;
        j.temperature = (float)(rand() % 3);
        switch (rand() % 8) {
        case 0:
                ipc_encode(out, IPC_MODEL, &def);
                break;
        case 1:
                ipc_encode(out, rand() % 2 ? IPC_LOAD : IPC_UNLOAD, &name);
                break;
        case 2:
                ipc_encode(out, IPC_CANCEL, &id);
                break;
        case 3:
                ipc_encode(out, IPC_SHOW, &show);
                break;
        default:
                ipc_encode(out, IPC_JOB, &j);
        }
}

/* Until it hangs up or has had enough; what it says is read and dropped, so that it is never blocked. */
static void throw_frames(Peer *p) {
        for (int i = 0; i < 100; i++) {
                _cleanup_buf_ Buf frames = BUF_NULL;
                char drop[65536];
                put_valid(&frames);
                if (rand() % 4 == 0)
                        frames.data[8 + (size_t)rand() % (frames.len - 8)] = (char)rand();
                if (rand() % 50 == 0)
                        frames.data[rand() % 8] = (char)rand();
                if (!send_bytes(p, frames.data, frames.len))
                        return;
                while (recv(p->fd, drop, sizeof(drop), MSG_DONTWAIT) > 0)
                        ;
        }
}

static void test_hostile(void **state) {
        skip_without(STORIES);
        srand((unsigned)test_seed());
        for (int round = 0; round < 30; round++) {
                Peer p;
                Message m;
                start(&p);
                set_up(&p, 1 << 26, &m);
                define(&p, "m", test_data(STORIES), 64);
                throw_frames(&p);
                shutdown(p.fd, SHUT_RDWR);
                assert_in_range(end(&p), 0, 1);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hello_and_quit), cmocka_unit_test(test_daemon_goes),
                cmocka_unit_test(test_no_such_device), cmocka_unit_test(test_broken_contract),
                cmocka_unit_test(test_load_unload),    cmocka_unit_test(test_two_models),
                cmocka_unit_test(test_chat),           cmocka_unit_test(test_show),
                cmocka_unit_test(test_hostile),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
