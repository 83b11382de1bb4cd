/* zerollama status: what the daemon is doing. */
#include <math.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/document.h"
#include "util/str.h"

static void print_heading(const char *text) {
        printf("\n%s%s%s\n", style_bold(stdout), text, style_off(stdout));
}

static void print_daemon(const json_t *root) {
        char text[256], up[64];
        double seconds = json_number_value(json_object_get(root, "uptime_seconds"));
        printf("zerollamad %s, pid ", member_text(root, "version", text, sizeof(text)));
        printf("%s, up ", member_text(root, "pid", text, sizeof(text)));
        printf("%s, on ", format_duration(up, sizeof(up), (uint64_t)fmax(seconds, 0) * 1000000));
        printf("%s\n", member_text(root, "event_loop", text, sizeof(text)));
}

/* An array of objects: one row each, with the members named by `keys` under `titles`. */
static void print_array(const json_t *array, const char *align, const char *const *titles, const char *const *keys) {
        const json_t *item;
        size_t i;
        Table *t = table_new(align);
        table_add(t, titles);
        json_array_foreach(array, i, item) {
                char text[8][128];
                const char *cells[8] = {NULL};
                for (size_t k = 0; k < 8 && keys[k]; k++)
                        cells[k] = member_text(item, keys[k], text[k], sizeof(text[k]));
                table_add(t, cells);
        }
        table_print(t);
}

static void print_section(const json_t *root, const char *key, const char *title) {
        const json_t *object = json_object_get(root, key);
        if (json_object_size(object) == 0)
                return;
        print_heading(title);
        Table *t = table_new("lr");
        add_members(t, object);
        table_print(t);
}

static void print_listeners(const json_t *root) {
        const json_t *array = json_object_get(root, "listeners"), *item;
        size_t i;
        json_array_foreach(array, i, item) {
                char text[256];
                if (json_is_object(item))
                        member_text(item, "address", text, sizeof(text));
                else
                        format_value(item, text, sizeof(text));
                printf("listens on %s\n", text);
        }
}

static int print_status(const char *json, bool local) {
        json_auto_t *root = json_loads(json, JSON_ALLOW_NUL, NULL);
        const json_t *pools = json_object_get(root, "pools");
        json_t *users = json_object_get(root, "users");
        if (local)
                name_users(users);
        print_daemon(root);
        print_listeners(root);
        if (json_array_size(pools) > 0) {
                print_heading("Engines");
                print_array(pools, "lllrrr", (const char *[]){"POOL", "DEVICE", "STATE", "PID", "RESTARTS", "MODELS"},
                            (const char *[]){"name", "device", "state", "pid", "restarts", "models", NULL});
        }
        print_section(root, "jobs", "Jobs");
        if (json_array_size(users) > 0) {
                print_heading("Users");
                print_array(users, "lrrrl", (const char *[]){"USER", "UID", "RUNNING", "WAITING", "PRIORITY"},
                            (const char *[]){"name", "uid", "running", "waiting", "priority", NULL});
        }
        print_section(root, "limits", "Limits");
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        char *json = NULL;
        ZlError e;
        if (zl_status(client, &json, &e) < 0)
                return complain_error(&e);
        int r = want_json ? print_json(json) : print_status(json, is_local(client));
        free(json);
        return r;
}

const Command cmd_status = {.name = "status", .arguments = "", .summary = "show what the daemon is doing", .run = run};
