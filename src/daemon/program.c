/* Opening and starting the engines' programs; see program.h. A descriptor is executed by its name in /proc. It stays open in
 * the engine, so that a script may be one: its interpreter reads it there. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/program.h"
#include "util/macro.h"

/* Descriptors in the engine. */
enum { CONNECTION_FD = 3, PROGRAM_FD, FREE_FD };

static const char cpu_name[] = "zerollama-engine", cuda_name[] = "zerollama-engine-cuda";

extern char **environ;

/* ---- opening ---- */

/* $ZEROLLAMA_LIBEXEC is for running from a build tree. */
static char *program_path(const char *name) {
        const char *dir = getenv("ZEROLLAMA_LIBEXEC");
        char *path;
        return asprintf(&path, "%s/%s", dir ? dir : PKGLIBEXECDIR, name) < 0 ? NULL : path;
}

/* Out of the way of those that the engine gets. */
static int open_above(const char *path) {
        _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
        return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FREE_FD);
}

static void program_open(int *fd, const char *name) {
        _cleanup_free_ char *path = *fd < 0 ? program_path(name) : NULL;
        if (path)
                *fd = open_above(path);
}

void programs_open(Programs *p) {
        program_open(&p->cpu, cpu_name);
        program_open(&p->cuda, cuda_name);
}

void programs_close(Programs *p) {
        closep(&p->cpu);
        closep(&p->cuda);
}

/* ---- starting ---- */

/* The engine is not the service: it must not speak to the service manager in our name. */
static char **engine_environment(void) {
        static const char *const drop[] = {"NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=", "LISTEN_FDS=", "LISTEN_PID="};
        size_t n = 0, k = 0;
        while (environ[n])
                n++;
        char **env = calloc(n + 1, sizeof(*env));
        for (size_t i = 0; env && i < n; i++) {
                bool dropped = false;
                for (size_t d = 0; d < ARRAY_SIZE(drop); d++)
                        dropped |= strncmp(environ[i], drop[d], strlen(drop[d])) == 0;
                if (!dropped)
                        env[k++] = environ[i];
        }
        return env;
}

static int spawn(int program, int fd, pid_t *ret_pid) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        char path[32], arg1[32], arg0[sizeof(cpu_name)], *argv[] = {arg0, arg1, NULL};
        _cleanup_free_ char **env = engine_environment();
        if (!env)
                return -ENOMEM;
        strcpy(arg0, cpu_name);
        snprintf(arg1, sizeof(arg1), "--ipc-fd=%d", CONNECTION_FD);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", PROGRAM_FD);
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, fd, CONNECTION_FD);
        posix_spawn_file_actions_adddup2(&actions, program, PROGRAM_FD);
        posix_spawnattr_init(&attr);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setsigdefault(&attr, &all);
        int r = -posix_spawn(ret_pid, path, &actions, &attr, argv, env);
        posix_spawnattr_destroy(&attr);
        posix_spawn_file_actions_destroy(&actions);
        return r;
}

int programs_spawn(Programs *p, const char *device, int fd, pid_t *ret_pid, Error *e) {
        programs_open(p);
        bool cuda = strcmp(device, "cpu") != 0 && p->cuda >= 0;
        int program = cuda ? p->cuda : p->cpu;
        int r = program < 0 ? -ENOENT : spawn(program, fd, ret_pid);
        if (r == 0)
                return 0;
        _cleanup_free_ char *path = program_path(cuda ? cuda_name : cpu_name);
        return error_set(e, r, "cannot start '%s': %s", path ? path : "", strerror(-r));
}
