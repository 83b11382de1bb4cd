/* A logind for it-service.py, on the bus that $DBUS_SYSTEM_BUS_ADDRESS names. Reads commands, a character each:
 *   s  announces that the machine will sleep, and waits until nobody holds the inhibitor
 *   w  announces that it is awake
 * and says what happens, a line each: "inhibited", "allowed". */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define MANAGER "/org/freedesktop/login1", "org.freedesktop.login1.Manager"

static int inhibitor = -1; /* hangs up when nobody holds the other end */

static void die(const char *what) {
        fprintf(stderr, "fake-logind: %s\n", what);
        _exit(1);
}

static int on_inhibit(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        const char *what, *who, *why, *mode;
        int fds[2];
        (void)userdata;
        (void)e;
        if (sd_bus_message_read(m, "ssss", &what, &who, &why, &mode) < 0 || strcmp(what, "sleep") != 0 || strcmp(mode, "delay") != 0)
                die("another lock than expected was asked for");
        if (pipe2(fds, O_CLOEXEC) < 0)
                die("no pipe");
        if (inhibitor >= 0)
                close(inhibitor);
        inhibitor = fds[0];
        int r = sd_bus_reply_method_return(m, "h", fds[1]);
        close(fds[1]);
        puts("inhibited");
        return r;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Inhibit", "ssss", "h", on_inhibit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("PrepareForSleep", "b", 0),
        SD_BUS_VTABLE_END,
};

static void command(sd_bus *bus, char c) {
        struct pollfd held = {.fd = inhibitor};
        if (sd_bus_emit_signal(bus, MANAGER, "PrepareForSleep", "b", c == 's') < 0 || sd_bus_flush(bus) < 0)
                die("cannot announce");
        if (c != 's')
                return;
        poll(&held, 1, -1);
        puts("allowed");
}

int main(void) {
        sd_bus *bus;
        char c;
        setvbuf(stdout, NULL, _IOLBF, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (sd_bus_open_system(&bus) < 0 || sd_bus_add_object_vtable(bus, NULL, MANAGER, vtable, NULL) < 0 ||
            sd_bus_request_name(bus, "org.freedesktop.login1", 0) < 0)
                die("no bus");
        puts("ready");
        for (;;) {
                while (sd_bus_process(bus, NULL) > 0)
                        ;
                struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = sd_bus_get_fd(bus), .events = POLLIN}};
                if (poll(fds, 2, -1) < 0)
                        die("cannot wait");
                if (!fds[0].revents)
                        continue;
                if (read(STDIN_FILENO, &c, 1) != 1)
                        return 0;
                command(bus, c);
        }
}
