/* zerollama help: everything it says comes from the tables of commands and options. */
#include <ctype.h>
#include <jansson.h>
#include <string.h>

#include "cli/commands.h"
#include "util/macro.h"

enum { COLUMN = 26, WIDTH = 100 };

static int columns(const char *text, size_t n) {
        int count = 0;
        for (size_t i = 0; i < n; i++)
                count += (text[i] & 0xc0) != 0x80;
        return count;
}

/* Text from column `indent` on, broken between words. */
static void print_wrapped(FILE *f, const char *text, int indent) {
        int at = indent;
        while (*text) {
                size_t n = strcspn(text, " ");
                int width = columns(text, n);
                if (at > indent && at + 1 + width > WIDTH) {
                        fprintf(f, "\n%*s", indent, "");
                        at = indent;
                } else if (at > indent) {
                        fputc(' ', f);
                        at++;
                }
                fprintf(f, "%.*s", (int)n, text);
                at += width;
                text += n + (text[n] == ' ');
        }
        fputc('\n', f);
}

static void print_options(const Option *o) {
        for (; o->kind != OPTION_END; o++) {
                char usage[64];
                option_usage(o, usage, sizeof(usage));
                printf("  %s%*s ", usage, MAX(COLUMN - columns(usage, strlen(usage)), 0), "");
                print_wrapped(stdout, o->help, COLUMN + 3);
        }
}

int print_command_help(const Command *c) {
        printf("Usage: zerollama %s [OPTIONS]%s%s\n\n", c->name, *c->arguments ? " " : "", c->arguments);
        printf("%c%s.\n", toupper(c->summary[0]), c->summary + 1);
        if (c->description)
                print_wrapped(stdout, c->description, 0);
        printf("\n%sOptions%s\n", style_bold(stdout), style_off(stdout));
        for (const Option *const *table = c->options; *table; table++)
                print_options(*table);
        print_options(common_options);
        return EXIT_OK;
}

void print_overview(FILE *f) {
        fputs("Usage: zerollama COMMAND [OPTIONS] [ARGUMENTS]\n\n", f);
        for (const Command *const *c = commands; *c; c++) {
                fprintf(f, "  %-10s ", (*c)->name);
                print_wrapped(f, (*c)->summary, 13);
        }
        fputs("\n'zerollama help COMMAND' says more about one; zerollama(1) is the manual.\n", f);
}

static void describe_options(json_t *list, const Option *o) {
        for (; o->kind != OPTION_END; o++)
                json_array_append_new(list, json_pack("{s:s, s:s?, s:s}", "name", o->name, "argument", o->argument,
                                                      "help", o->help));
}

static json_t *describe_all_options(const Command *c) {
        json_t *list = json_array();
        for (const Option *const *table = c->options; *table; table++)
                describe_options(list, *table);
        describe_options(list, common_options);
        return list;
}

static int describe_all(void) {
        json_auto_t *list = json_array();
        for (const Command *const *c = commands; *c; c++)
                json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "name", (*c)->name, "arguments",
                                                      (*c)->arguments, "summary", (*c)->summary, "options",
                                                      describe_all_options(*c)));
        json_dumpf(list, stdout, JSON_COMPACT);
        putchar('\n');
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        if (want_json)
                return describe_all();
        if (args[0]) {
                const Command *c = find_command(args[0]);
                return c ? print_command_help(c) : EXIT_USAGE;
        }
        print_overview(stdout);
        return EXIT_OK;
}

const Command cmd_help = {
        .name = "help",
        .arguments = "[COMMAND]",
        .summary = "say what the commands do and which options they have",
        .max_args = 1,
        .offline = true,
        .run = run,
};
