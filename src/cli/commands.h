/* The subcommands, each in its own file; main.c lists them in the order help shows. */
#pragma once

#include "cli/cli.h"

extern const Command cmd_run, cmd_generate, cmd_pull, cmd_create, cmd_rm, cmd_list, cmd_ps, cmd_show, cmd_load, cmd_unload, cmd_status, cmd_ctl,
        cmd_top, cmd_embed, cmd_rerank, cmd_tokenize, cmd_map, cmd_bench, cmd_version, cmd_help;
