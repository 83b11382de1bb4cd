/* The evaluator: walks the tree of a template.
 *
 * Scopes are a chain. The template's top level, each loop, each macro's call and each block that says so is one;
 * assignments go into the innermost, and end with it. A macro sees the scope that it was defined in, as it is when
 * the macro runs. Behind the scopes come the host's functions, then the context, then Jinja's own functions: data
 * cannot take the place of the host's functions.
 *
 * Two things differ from Jinja2, which settles names when it compiles and filters loops as they run: there, a name of
 * the context that the top level assigns later is undefined inside of loops and macros before that; and a loop's `if`
 * is asked again after each pass, here before the first. */
#include <errno.h>
#include <string.h>

#include "text/jinja-ast.h"
#include "text/jinja.h"
#include "util/str.h"

struct Template {
        Run run; /* keeps the memory of the source and the tree */
        Node *body;
};

struct Scope {
        Scope *parent;
        Dict variables;
};

struct Macro {
        const Node *node;
        Scope *scope;
};

struct Loop {
        const List *items;
        size_t at; /* the item at hand */
        Value changed; /* what loop.changed() saw last */
};

typedef enum Flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } Flow;

static Value eval(Run *r, const Node *n);
static Flow execute(Run *r, const Node *body);

/* Variables. */

static Scope *push_scope(Run *r, Scope *parent) {
        Scope *outer = r->scope;
        r->scope = jinja_alloc(r, 1, sizeof(Scope));
        r->scope->parent = parent;
        return outer;
}

Value jinja_lookup(Run *r, const char *name) {
        const Value *v = jinja_get(r, r->context, jinja_cstring(r, name));
        return v ? *v : jinja_undefined(NULL);
}

static Value lookup(Run *r, const String *name) {
        const Value *v;
        for (const Scope *s = r->scope; s; s = s->parent)
                if ((v = jinja_get_name(r, &s->variables, name)))
                        return *v;
        const Builtin *b = jinja_find_builtin(r->functions, name);
        if (b)
                return jinja_function(r, b, jinja_none());
        if ((v = jinja_get_name(r, r->context, name)))
                return *v;
        b = jinja_find_builtin(jinja_functions, name);
        return b ? jinja_function(r, b, jinja_none()) : jinja_undefined(name);
}

static void set_variable(Run *r, const String *name, Value v) {
        jinja_set(r, &r->scope->variables, (Value){.kind = VALUE_STRING, .s = name}, v);
}

static void assign_attribute(Run *r, const Node *target, Value v) {
        Value object = eval(r, target->attr.object);
        if (object.kind != VALUE_NAMESPACE)
                jinja_fail(r, -EINVAL, "only a namespace's attributes can be set, not those of a %s",
                           jinja_kind(object));
        jinja_set(r, object.dict, (Value){.kind = VALUE_STRING, .s = target->attr.name}, v);
}

static void assign(Run *r, const Node *target, Value v);

static void unpack(Run *r, const Node *targets, Value v) {
        Value items = jinja_iterate(r, v);
        size_t n = 0;
        for (const Node *t = targets->items; t; t = t->next, n++)
                if (n < items.list->n)
                        assign(r, t, items.list->items[n]);
        if (n != items.list->n)
                jinja_fail(r, -EINVAL, "%zu values cannot be unpacked into %zu variables", items.list->n, n);
}

static void assign(Run *r, const Node *target, Value v) {
        r->pos = target->pos;
        if (target->kind == NODE_NAME)
                set_variable(r, target->name, v);
        else if (target->kind == NODE_ATTR)
                assign_attribute(r, target, v);
        else if (target->kind == NODE_TUPLE)
                unpack(r, target, v);
        else
                jinja_fail(r, -EINVAL, "this cannot be assigned to");
}

/* Calls. */

static void spread_list(Run *r, Value positional, Value v) {
        Value items = jinja_iterate(r, v);
        for (size_t i = 0; i < items.list->n; i++)
                jinja_append(r, positional, items.list->items[i]);
}

static Named *spread_dict(Run *r, Named *named, size_t *n, Value v) {
        if (v.kind != VALUE_DICT)
                jinja_fail(r, -EINVAL, "** needs a dict, not %s", jinja_kind(v));
        Named *more = jinja_alloc(r, *n + v.dict->n, sizeof(*more));
        if (*n > 0)
                memcpy(more, named, *n * sizeof(*more));
        for (size_t i = 0; i < v.dict->n; i++)
                more[(*n)++] = (Named){jinja_need_string(r, v.dict->entries[i].key, "an argument's name"),
                                       v.dict->entries[i].value};
        return more;
}

/* Evaluates the arguments as they were written. */
static Args eval_args(Run *r, const Node *nodes) {
        Value positional = jinja_list(r, 0);
        Named *named = NULL;
        size_t n = 0;
        for (const Node *a = nodes; a; a = a->next) {
                Value v = eval(r, a->arg.value);
                if (a->arg.spread == ARG_LIST)
                        spread_list(r, positional, v);
                else if (a->arg.spread == ARG_DICT)
                        named = spread_dict(r, named, &n, v);
                else if (!a->arg.name)
                        jinja_append(r, positional, v);
                else {
                        Named *more = jinja_alloc(r, n + 1, sizeof(*more));
                        if (n > 0)
                                memcpy(more, named, n * sizeof(*more));
                        more[n++] = (Named){a->arg.name, v};
                        named = more;
                }
        }
        return (Args){positional.list->items, positional.list->n, named, n};
}

/* The next name of a Builtin's `params`; *ret_optional: it may be left out. */
static String next_param(const char **params, bool *ret_optional) {
        const char *p = *params + strspn(*params, " ");
        String name = {p, strcspn(p, " ?"), NULL};
        *ret_optional = p[name.len] == '?';
        *params = p + name.len + *ret_optional;
        return name;
}

static const Value *find_named(Run *r, const Args *a, const String *name) {
        jinja_charge(r, a->n_named / 16);
        for (size_t i = 0; i < a->n_named; i++)
                if (jinja_same(r, a->named[i].name, name))
                        return &a->named[i].value;
        return NULL;
}

Value jinja_call_builtin(Run *r, const Builtin *b, Value self, const Args *a) {
        if (strcmp(b->params, "*") == 0)
                return b->call(r, self, a);
        Value v[BUILTIN_MAX_PARAMS] = {0};
        size_t n = 0, named = 0;
        for (const char *rest = b->params; *rest; n++) {
                bool optional;
                String name = next_param(&rest, &optional);
                const Value *given = find_named(r, a, &name);
                named += given != NULL;
                if (n < a->n)
                        v[n] = a->v[n];
                else if (given)
                        v[n] = *given;
                else if (!optional)
                        jinja_fail(r, -EINVAL, "%s needs the argument '%.*s'", b->name, (int)name.len, name.data);
        }
        if (a->n > n)
                jinja_fail(r, -EINVAL, "%s takes at most %zu arguments, not %zu", b->name, n, a->n);
        if (named != a->n_named)
                jinja_fail(r, -EINVAL, "%s was given a named argument that it does not have; its arguments are: %s",
                           b->name, *b->params ? b->params : "none");
        return b->call(r, self, &(Args){.v = v, .n = n});
}

/* Executes a body with a new output, and returns that. */
static Value capture(Run *r, const Node *body) {
        Text text = {0}, *out = r->out;
        r->out = &text;
        execute(r, body);
        r->out = out;
        return jinja_text(r, &text);
}

static bool is_parameter(Run *r, const Node *macro, const String *name) {
        for (const Node *p = macro->macro.params; p; p = p->next) {
                jinja_charge(r, 1);
                if (jinja_same(r, p->param.name, name))
                        return true;
        }
        return false;
}

/* Arguments that are no parameters: `caller`, and the rest for `kwargs` and `varargs`. */
static void bind_rest(Run *r, const Node *macro, const Args *a, size_t n_bound) {
        Value rest = jinja_dict(r), extra = jinja_tuple(r, 0, NULL);
        for (size_t i = 0; i < a->n_named; i++) {
                const Named *named = &a->named[i];
                if (is_parameter(r, macro, named->name))
                        continue;
                if (jinja_is(named->name, "caller"))
                        set_variable(r, named->name, named->value);
                else
                        jinja_set(r, rest.dict, (Value){.kind = VALUE_STRING, .s = named->name}, named->value);
        }
        for (size_t i = n_bound; i < a->n; i++)
                jinja_append(r, extra, a->v[i]);
        if ((extra.list->n > 0 && !macro->macro.varargs) || (rest.dict->n > 0 && !macro->macro.kwargs))
                jinja_fail(r, -EINVAL, "macro '%.*s' does not take these arguments",
                           (int)MIN(macro->macro.name->len, (size_t)100), macro->macro.name->data);
        if (macro->macro.varargs)
                set_variable(r, jinja_cstring(r, "varargs").s, extra);
        if (macro->macro.kwargs)
                set_variable(r, jinja_cstring(r, "kwargs").s, rest);
}

static Value call_macro(Run *r, const Macro *m, const Args *a) {
        const Node *macro = m->node;
        Scope *outer = push_scope(r, m->scope);
        size_t n = 0;
        for (const Node *p = macro->macro.params; p; p = p->next, n++) {
                const Value *given = n < a->n ? &a->v[n] : find_named(r, a, p->param.name);
                set_variable(r, p->param.name,
                             given                ? *given
                             : p->param.standard ? eval(r, p->param.standard)
                                                  : jinja_undefined(p->param.name));
        }
        bind_rest(r, macro, a, n);
        Value v = capture(r, macro->macro.body);
        r->scope = outer;
        return v;
}

Value jinja_call(Run *r, Value callee, const Args *a) {
        Value v;
        jinja_enter(r);
        if (callee.kind == VALUE_FUNCTION)
                v = jinja_call_builtin(r, callee.function->builtin, callee.function->self, a);
        else if (callee.kind == VALUE_MACRO)
                v = call_macro(r, callee.macro, a);
        else if (callee.kind == VALUE_UNDEFINED && callee.s)
                jinja_fail(r, -EINVAL, "'%.*s' is undefined and cannot be called", (int)MIN(callee.s->len, (size_t)100),
                           callee.s->data);
        else
                jinja_fail(r, -EINVAL, "a %s cannot be called", jinja_kind(callee));
        jinja_leave(r);
        return v;
}

static Value eval_call(Run *r, const Node *n) {
        Value callee = eval(r, n->call.callee);
        Args a = eval_args(r, n->call.args);
        r->pos = n->call.callee->pos;
        return jinja_call(r, callee, &a);
}

/* A filter or a test. */
static Value eval_builtin(Run *r, const Node *n) {
        const Builtin *b = n->call.builtin;
        if (!b)
                jinja_fail(r, -EINVAL, "there is no %s '%.*s'", n->kind == NODE_FILTER ? "filter" : "test",
                           (int)MIN(n->call.name->len, (size_t)100), n->call.name->data);
        Value subject = eval(r, n->call.callee);
        Args a = eval_args(r, n->call.args);
        r->pos = n->pos;
        return jinja_call_builtin(r, b, subject, &a);
}

/* Expressions. */

static Value eval_list(Run *r, const Node *n) {
        Value list = jinja_list(r, 0);
        list.kind = n->kind == NODE_LIST ? VALUE_LIST : VALUE_TUPLE;
        for (const Node *i = n->items; i; i = i->next)
                jinja_append(r, list, eval(r, i));
        return list;
}

static Value eval_dict(Run *r, const Node *n) {
        Value dict = jinja_dict(r);
        for (const Node *i = n->items; i; i = i->next->next) {
                Value key = eval(r, i);
                jinja_set(r, dict.dict, key, eval(r, i->next));
        }
        return dict;
}

static Value eval_concat(Run *r, const Node *n) {
        Value text = jinja_str(r, eval(r, n->items));
        for (const Node *i = n->items->next; i; i = i->next)
                text = jinja_concat(r, text, jinja_str(r, eval(r, i)));
        text.safe = false;
        return text;
}

static Value eval_binary(Run *r, const Node *n) {
        Value left = eval(r, n->binary.left), right = eval(r, n->binary.right);
        r->pos = n->pos;
        return jinja_arithmetic(r, n->binary.op, left, right);
}

static Value eval_comparison(Run *r, const Node *n) {
        Value left = eval(r, n->binary.left);
        for (const Node *o = n->binary.right; o; o = o->next) {
                Value right = eval(r, o->binary.right);
                r->pos = o->pos;
                if (!jinja_comparison(r, o->binary.op, left, right))
                        return jinja_bool(false);
                left = right;
        }
        return jinja_bool(true);
}

static Value eval_logic(Run *r, const Node *n) {
        Value left = eval(r, n->binary.left);
        return jinja_truthy(left) == (n->kind == NODE_OR) ? left : eval(r, n->binary.right);
}

static Value eval_negation(Run *r, const Node *n) {
        Value v = eval(r, n->value);
        r->pos = n->pos;
        if (v.kind == VALUE_FLOAT)
                return jinja_float(n->kind == NODE_NEGATE ? -v.f : v.f);
        return jinja_arithmetic(r, n->kind == NODE_NEGATE ? OP_SUB : OP_ADD, jinja_int(0), v);
}

static Value eval_choice(Run *r, const Node *n) {
        if (jinja_truthy(eval(r, n->choice.condition)))
                return eval(r, n->choice.then);
        return n->choice.otherwise ? eval(r, n->choice.otherwise) : jinja_undefined(NULL);
}

static Value eval_attribute(Run *r, const Node *n) {
        Value object = eval(r, n->attr.object);
        r->pos = n->pos;
        return jinja_attribute(r, object, n->attr.name);
}

static Value eval_item(Run *r, const Node *n) {
        Value object = eval(r, n->item.object), index = eval(r, n->item.index);
        r->pos = n->pos;
        return jinja_item(r, object, index);
}

static Value eval_slice(Run *r, const Node *n) {
        const Node *parts[] = {n->slice.start, n->slice.stop, n->slice.step};
        Value object = eval(r, n->slice.object), v[3];
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                v[i] = parts[i] ? eval(r, parts[i]) : jinja_none();
        r->pos = n->pos;
        return jinja_slice(r, object, v[0], v[1], v[2]);
}

static Value eval_macro(Run *r, const Node *n) {
        Macro *m = jinja_alloc(r, 1, sizeof(*m));
        *m = (Macro){n, r->scope};
        return (Value){.kind = VALUE_MACRO, .macro = m};
}

static Value eval_capture(Run *r, const Node *n) {
        Scope *outer = push_scope(r, r->scope);
        Value v = capture(r, n->body);
        r->scope = outer;
        return v;
}

static Value eval_inside(Run *r, const Node *n) {
        switch (n->kind) {
        case NODE_CONST:
                return n->constant;
        case NODE_NAME:
                return lookup(r, n->name);
        case NODE_LIST:
        case NODE_TUPLE:
                return eval_list(r, n);
        case NODE_DICT:
                return eval_dict(r, n);
        case NODE_CONCAT:
                return eval_concat(r, n);
        case NODE_BINARY:
                return eval_binary(r, n);
        case NODE_COMPARE:
                return eval_comparison(r, n);
        case NODE_AND:
        case NODE_OR:
                return eval_logic(r, n);
        case NODE_NOT:
                return jinja_bool(!jinja_truthy(eval(r, n->value)));
        case NODE_NEGATE:
        case NODE_PLUS:
                return eval_negation(r, n);
        case NODE_COND:
                return eval_choice(r, n);
        case NODE_ATTR:
                return eval_attribute(r, n);
        case NODE_ITEM:
                return eval_item(r, n);
        case NODE_SLICE:
                return eval_slice(r, n);
        case NODE_CALL:
                return eval_call(r, n);
        case NODE_FILTER:
        case NODE_TEST:
                return eval_builtin(r, n);
        case NODE_CAPTURE:
                return eval_capture(r, n);
        case NODE_MACRO:
                return eval_macro(r, n);
        default:
                jinja_fail(r, -EINVAL, "this is no expression");
        }
}

static Value eval(Run *r, const Node *n) {
        jinja_enter(r);
        r->pos = n->pos;
        Value v = eval_inside(r, n);
        jinja_leave(r);
        return v;
}

static Flow execute_inner(Run *r, const Node *body) {
        Scope *outer = push_scope(r, r->scope);
        Flow flow = execute(r, body);
        r->scope = outer;
        return flow;
}

/* Loops. */

static Value loop_cycle(Run *r, Value self, const Args *a) {
        if (a->n == 0)
                jinja_fail(r, -EINVAL, "loop.cycle() needs something to cycle through");
        return a->v[self.loop->at % a->n];
}

static Value loop_changed(Run *r, Value self, const Args *a) {
        Value now = jinja_tuple(r, a->n, a->v), last = self.loop->changed;
        self.loop->changed = now;
        return jinja_bool(last.kind == VALUE_ABSENT || !jinja_equal(r, now, last));
}

Value jinja_loop_attribute(Run *r, const Loop *l, const String *name) {
        static const Builtin cycle = {"loop.cycle", "*", loop_cycle}, changed = {"loop.changed", "*", loop_changed};
        const Value self = {.kind = VALUE_LOOP, .loop = (Loop *)l};
        const struct {
                const char *name;
                Value value;
        } attributes[] = {
                {"index", jinja_int((int64_t)l->at + 1)},
                {"index0", jinja_int((int64_t)l->at)},
                {"revindex", jinja_int((int64_t)(l->items->n - l->at))},
                {"revindex0", jinja_int((int64_t)(l->items->n - l->at) - 1)},
                {"first", jinja_bool(l->at == 0)},
                {"last", jinja_bool(l->at + 1 == l->items->n)},
                {"length", jinja_int((int64_t)l->items->n)},
                {"previtem", l->at > 0 ? l->items->items[l->at - 1] : jinja_undefined(name)},
                {"nextitem", l->at + 1 < l->items->n ? l->items->items[l->at + 1] : jinja_undefined(name)},
        };
        for (size_t i = 0; i < ARRAY_SIZE(attributes); i++)
                if (jinja_is(name, attributes[i].name))
                        return attributes[i].value;
        if (jinja_is(name, "cycle") || jinja_is(name, "changed"))
                return jinja_function(r, jinja_is(name, "cycle") ? &cycle : &changed, self);
        return jinja_undefined(name);
}

/* The items that the loop's `if` lets through. */
static Value filter_items(Run *r, const Node *n, Value items) {
        Value kept = jinja_list(r, 0);
        Scope *outer = push_scope(r, r->scope);
        for (size_t i = 0; i < items.list->n; i++) {
                assign(r, n->loop.target, items.list->items[i]);
                if (jinja_truthy(eval(r, n->loop.condition)))
                        jinja_append(r, kept, items.list->items[i]);
        }
        r->scope = outer;
        return kept;
}

/* Whether any pass came to its end: as in Jinja2, `else` is for loops of which none did. */
static bool run_loop(Run *r, const Node *n, Loop *loop) {
        static const String name = {"loop", 4, NULL};
        bool completed = false;
        Flow flow = FLOW_ON;
        Scope *outer = push_scope(r, r->scope);
        for (; loop->at < loop->items->n && flow != FLOW_BREAK; loop->at++) {
                r->scope->variables.n = 0;
                assign(r, n->loop.target, loop->items->items[loop->at]);
                set_variable(r, &name, (Value){.kind = VALUE_LOOP, .loop = loop});
                flow = execute(r, n->loop.body);
                completed |= flow == FLOW_ON;
        }
        r->scope = outer;
        return completed;
}

static Flow execute_for(Run *r, const Node *n) {
        Value items = jinja_iterate(r, eval(r, n->loop.iterable));
        if (n->loop.condition)
                items = filter_items(r, n, items);
        Loop *loop = jinja_alloc(r, 1, sizeof(*loop));
        loop->items = items.list;
        bool completed = run_loop(r, n, loop);
        return completed ? FLOW_ON : execute_inner(r, n->loop.otherwise);
}

/* Statements. */

static Flow execute_if(Run *r, const Node *n) {
        bool yes = jinja_truthy(eval(r, n->choice.condition));
        return execute(r, yes ? n->choice.then : n->choice.otherwise);
}

static Flow execute_one(Run *r, const Node *n) {
        r->pos = n->pos;
        switch (n->kind) {
        case NODE_TEXT:
                jinja_put(r, r->out, n->text->data, n->text->len);
                return FLOW_ON;
        case NODE_OUTPUT:
                jinja_put_str(r, r->out, eval(r, n->value));
                return FLOW_ON;
        case NODE_IF:
                return execute_if(r, n);
        case NODE_FOR:
                return execute_for(r, n);
        case NODE_SET:
                assign(r, n->set.target, eval(r, n->set.value));
                return FLOW_ON;
        case NODE_SCOPE:
                return execute_inner(r, n->body);
        case NODE_BREAK:
                return FLOW_BREAK;
        case NODE_CONTINUE:
                return FLOW_CONTINUE;
        default:
                jinja_fail(r, -EINVAL, "this is no statement");
        }
}

static Flow execute(Run *r, const Node *body) {
        Flow flow = FLOW_ON;
        jinja_enter(r);
        for (const Node *n = body; n && flow == FLOW_ON; n = n->next) {
                jinja_charge(r, 1);
                flow = execute_one(r, n);
        }
        jinja_leave(r);
        return flow;
}

/* Templates. */

static void compile(Run *r, void *arg) {
        Template *t = arg;
        r->source = jinja_normalise(r, r->source->data, r->source->len);
        t->body = jinja_parse(r);
}

int jinja_compile(const char *source, size_t len, Error *e, Template **ret) {
        bool bad;
        if (len > JINJA_MAX_SOURCE)
                return error_set(e, -EINVAL, "the chat template is larger than %d MiB", JINJA_MAX_SOURCE >> 20);
        if (utf8_valid_prefix(source, len, &bad) != len)
                return error_set(e, -EINVAL, "the chat template is not UTF-8");
        _cleanup_(jinja_freep) Template *t = calloc(1, sizeof(*t));
        if (!t)
                return error_set(e, -ENOMEM, "out of memory");
        const String raw = {source, len, NULL};
        t->run = (Run){.error = e, .max_memory = JINJA_MAX_AST, .source = &raw};
        int r = jinja_guard(&t->run, compile, t);
        if (r < 0)
                return r;
        t->run.error = NULL;
        *ret = TAKE(t);
        return 0;
}

void jinja_free(Template *t) {
        if (t)
                jinja_deinit(&t->run);
        free(t);
}

typedef struct Render {
        const Template *template;
        const json_t *context;
        Text text;
} Render;

static void render(Run *r, void *arg) {
        Render *job = arg;
        Value context = jinja_from_json(r, job->context);
        if (context.kind != VALUE_DICT)
                jinja_fail(r, -EINVAL, "the context is no object");
        r->context = context.dict;
        r->out = &job->text;
        push_scope(r, NULL);
        execute(r, job->template->body);
}

int jinja_render(const Template *t, const json_t *context, const Builtin *functions, Buf *out, Error *e) {
        Run run = {.error = e, .max_memory = JINJA_MAX_MEMORY, .source = t->run.source, .functions = functions};
        Render job = {.template = t, .context = context};
        int r = jinja_guard(&run, render, &job);
        if (r == 0) {
                buf_put(out, job.text.data, job.text.len);
                r = out->failed ? error_set(e, -ENOMEM, "out of memory") : 0;
        }
        jinja_deinit(&run);
        return r;
}
