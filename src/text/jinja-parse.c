/* Tokens into a tree, by recursive descent with Jinja2's precedences, loosest first:
 *
 *   a if b else c | or | and | not | == != < > in | + - | ~ | * / // % | ** | unary + -, filters, tests | .x [x] (x)
 *
 * Statements are rewritten into few kinds of nodes: a macro is an assignment, `{% filter %}` and `{% set %}…` read
 * what a NODE_CAPTURE printed, `{% call %}` prints a call that gets one more argument. */
#include <errno.h>
#include <string.h>

#include "text/jinja-ast.h"
#include "text/jinja.h"

typedef struct Parser {
        Run *r;
        Lexer lexer;
        Token now, ahead;
        unsigned loops; /* around the statement at hand: break and continue need one */
        Node *macro;    /* around it, or NULL */
} Parser;

static Node *parse_expression(Parser *p);
static Node *parse_or(Parser *p);
static Node *parse_unary(Parser *p, bool with_filters);
static Node *parse_body(Parser *p, const char *ends);

static void advance(Parser *p) {
        p->now = p->ahead;
        p->ahead = jinja_lex(p->r, &p->lexer);
        p->r->pos = p->now.pos;
}

static void enter(Parser *p) {
        if (++p->r->depth > JINJA_MAX_NESTING)
                jinja_fail(p->r, -EINVAL, "nested more than %d deep", JINJA_MAX_NESTING);
}

static Node *new_node(Parser *p, NodeKind kind, size_t pos) {
        Node *n = jinja_alloc(p->r, 1, sizeof(*n));
        n->kind = kind;
        n->pos = pos;
        return n;
}

static Node *new_here(Parser *p, NodeKind kind) {
        return new_node(p, kind, p->now.pos);
}

static bool token_is(const Token *t, TokenKind kind, const char *text) {
        return t->kind == kind && jinja_is(t->value.s, text);
}

static bool at_op(const Parser *p, const char *op) {
        return token_is(&p->now, TOKEN_OPERATOR, op);
}

static bool at_name(const Parser *p, const char *name) {
        return token_is(&p->now, TOKEN_NAME, name);
}

static bool skip_op(Parser *p, const char *op) {
        bool yes = at_op(p, op);
        if (yes)
                advance(p);
        return yes;
}

static bool skip_name(Parser *p, const char *name) {
        bool yes = at_name(p, name);
        if (yes)
                advance(p);
        return yes;
}

static void unexpected(Parser *p, const char *expected) __attribute__((noreturn));
static void unexpected(Parser *p, const char *expected) {
        const Token *t = &p->now;
        bool text = t->kind == TOKEN_NAME || t->kind == TOKEN_OPERATOR;
        jinja_fail(p->r, -EINVAL, "expected %s, found %.*s", expected,
                   text ? (int)MIN(t->value.s->len, (size_t)60) : 20,
                   text                         ? t->value.s->data
                   : t->kind == TOKEN_END       ? "the template's end"
                   : t->kind == TOKEN_DATA      ? "text"
                   : t->kind == TOKEN_BLOCK_END ? "%}"
                   : t->kind == TOKEN_VAR_END   ? "}}"
                                                : "a literal");
}

static void need_op(Parser *p, const char *op) {
        if (!skip_op(p, op))
                unexpected(p, op);
}

static const String *need_name(Parser *p) {
        if (p->now.kind != TOKEN_NAME)
                unexpected(p, "a name");
        const String *name = p->now.value.s;
        advance(p);
        return name;
}

static void need(Parser *p, TokenKind kind, const char *what) {
        if (p->now.kind != kind)
                unexpected(p, what);
        advance(p);
}

static Node **append(Node **tail, Node *n) {
        *tail = n;
        return &n->next;
}

/* Expressions. */

static Node *parse_name(Parser *p) {
        static const struct {
                const char *name;
                Value value;
        } constants[] = {
                {"true", {.kind = VALUE_BOOL, .b = true}},   {"True", {.kind = VALUE_BOOL, .b = true}},
                {"false", {.kind = VALUE_BOOL, .b = false}}, {"False", {.kind = VALUE_BOOL, .b = false}},
                {"none", {.kind = VALUE_NONE}},              {"None", {.kind = VALUE_NONE}},
        };
        Node *n = new_here(p, NODE_NAME);
        n->name = need_name(p);
        if (p->macro) {
                p->macro->macro.varargs |= jinja_is(n->name, "varargs");
                p->macro->macro.kwargs |= jinja_is(n->name, "kwargs");
        }
        for (size_t i = 0; i < ARRAY_SIZE(constants); i++)
                if (jinja_is(n->name, constants[i].name)) {
                        n->kind = NODE_CONST;
                        n->constant = constants[i].value;
                        break;
                }
        return n;
}

/* A literal; strings that follow each other are one. It has no room to grow in place: the tree is immutable. */
static Node *parse_literal(Parser *p) {
        Node *n = new_here(p, NODE_CONST);
        n->constant = p->now.value;
        bool string = p->now.kind == TOKEN_STRING;
        for (advance(p); string && p->now.kind == TOKEN_STRING; advance(p))
                n->constant = jinja_concat(p->r, n->constant, p->now.value);
        if (string)
                n->constant = jinja_string(p->r, n->constant.s->data, n->constant.s->len);
        return n;
}

/* Items up to `end`, which is consumed; a comma may follow the last. */
static Node *parse_items(Parser *p, const char *end) {
        Node *first = NULL, **tail = &first;
        while (!at_op(p, end)) {
                tail = append(tail, parse_expression(p));
                if (!at_op(p, end))
                        need_op(p, ",");
        }
        advance(p);
        return first;
}

static Node *parse_list(Parser *p) {
        Node *n = new_here(p, NODE_LIST);
        advance(p);
        n->items = parse_items(p, "]");
        return n;
}

static Node *parse_dict(Parser *p) {
        Node *n = new_here(p, NODE_DICT), **tail = &n->items;
        advance(p);
        while (!at_op(p, "}")) {
                tail = append(tail, parse_expression(p));
                need_op(p, ":");
                tail = append(tail, parse_expression(p));
                if (!at_op(p, "}"))
                        need_op(p, ",");
        }
        advance(p);
        return n;
}

/* (a) is a, (a,) and (a, b) and () are tuples. */
static Node *parse_parentheses(Parser *p) {
        Node *tuple = new_here(p, NODE_TUPLE);
        advance(p);
        if (skip_op(p, ")"))
                return tuple;
        tuple->items = parse_expression(p);
        if (skip_op(p, ")"))
                return tuple->items;
        need_op(p, ",");
        tuple->items->next = parse_items(p, ")");
        return tuple;
}

static Node *parse_primary(Parser *p) {
        switch (p->now.kind) {
        case TOKEN_NAME:
                return parse_name(p);
        case TOKEN_STRING:
        case TOKEN_INT:
        case TOKEN_FLOAT:
                return parse_literal(p);
        default:
                if (at_op(p, "("))
                        return parse_parentheses(p);
                if (at_op(p, "["))
                        return parse_list(p);
                if (at_op(p, "{"))
                        return parse_dict(p);
                unexpected(p, "an expression");
        }
}

static Node *parse_argument(Parser *p) {
        Node *n = new_here(p, NODE_ARG);
        if (p->now.kind == TOKEN_NAME && token_is(&p->ahead, TOKEN_OPERATOR, "=")) {
                n->arg.name = need_name(p);
                advance(p);
        } else if (skip_op(p, "**"))
                n->arg.spread = ARG_DICT;
        else if (skip_op(p, "*"))
                n->arg.spread = ARG_LIST;
        n->arg.value = parse_expression(p);
        return n;
}

/* (a, *b, c=d, **e), from its parenthesis. */
static Node *parse_arguments(Parser *p) {
        Node *first = NULL, **tail = &first;
        need_op(p, "(");
        while (!at_op(p, ")")) {
                tail = append(tail, parse_argument(p));
                if (!at_op(p, ")"))
                        need_op(p, ",");
        }
        advance(p);
        return first;
}

static Node *parse_call(Parser *p, Node *callee) {
        Node *n = new_here(p, NODE_CALL);
        n->call.callee = callee;
        n->call.args = parse_arguments(p);
        return n;
}

/* object.name, or object.0 */
static Node *parse_dot(Parser *p, Node *object) {
        Node *n = new_here(p, NODE_ATTR);
        advance(p);
        if (p->now.kind == TOKEN_INT) {
                n->kind = NODE_ITEM;
                n->item.object = object;
                n->item.index = parse_literal(p);
                return n;
        }
        n->attr.object = object;
        n->attr.name = need_name(p);
        return n;
}

static Node *parse_slice_part(Parser *p) {
        return at_op(p, ":") || at_op(p, "]") ? NULL : parse_expression(p);
}

/* object[index] or object[start:stop:step] */
static Node *parse_subscript(Parser *p, Node *object) {
        Node *n = new_here(p, NODE_ITEM);
        advance(p);
        Node *index = at_op(p, ":") ? NULL : parse_expression(p);
        if (at_op(p, ":")) {
                n->kind = NODE_SLICE;
                n->slice.object = object;
                n->slice.start = index;
                advance(p);
                n->slice.stop = parse_slice_part(p);
                n->slice.step = skip_op(p, ":") ? parse_slice_part(p) : NULL;
        } else {
                n->item.object = object;
                n->item.index = index;
        }
        need_op(p, "]");
        return n;
}

static Node *parse_postfix(Parser *p, Node *n) {
        for (;;)
                if (at_op(p, "."))
                        n = parse_dot(p, n);
                else if (at_op(p, "["))
                        n = parse_subscript(p, n);
                else if (at_op(p, "("))
                        n = parse_call(p, n);
                else
                        return n;
}

/* Names of filters and tests may have dots. */
static const String *parse_dotted_name(Parser *p) {
        Value name = {.kind = VALUE_STRING, .s = need_name(p)};
        while (skip_op(p, ".")) {
                name = jinja_concat(p->r, name, jinja_cstring(p->r, "."));
                name = jinja_concat(p->r, name, (Value){.kind = VALUE_STRING, .s = need_name(p)});
        }
        return name.s;
}

static Node *parse_filter(Parser *p, Node *subject) {
        Node *n = new_here(p, NODE_FILTER);
        n->call.callee = subject;
        n->call.name = parse_dotted_name(p);
        n->call.builtin = jinja_find_filter(n->call.name);
        n->call.args = at_op(p, "(") ? parse_arguments(p) : NULL;
        return n;
}

/* A test's one argument may stand without parentheses: `x is divisibleby 3`. */
static Node *parse_test_arguments(Parser *p) {
        if (at_op(p, "("))
                return parse_arguments(p);
        if ((p->now.kind == TOKEN_OPERATOR && !at_op(p, "[") && !at_op(p, "{")) || p->now.kind < TOKEN_NAME ||
            at_name(p, "else") || at_name(p, "or") || at_name(p, "and"))
                return NULL;
        if (at_name(p, "is"))
                unexpected(p, "no second test");
        Node *n = new_here(p, NODE_ARG);
        n->arg.value = parse_postfix(p, parse_primary(p));
        return n;
}

static Node *parse_test(Parser *p, Node *subject) {
        Node *n = new_here(p, NODE_TEST), *not = NULL;
        if (skip_name(p, "not"))
                not = new_here(p, NODE_NOT);
        n->call.callee = subject;
        n->call.name = parse_dotted_name(p);
        n->call.builtin = jinja_find_test(n->call.name);
        n->call.args = parse_test_arguments(p);
        if (!not)
                return n;
        not->value = n;
        return not;
}

static Node *parse_filters(Parser *p, Node *n) {
        for (;;)
                if (skip_op(p, "|"))
                        n = parse_filter(p, n);
                else if (skip_name(p, "is"))
                        n = parse_test(p, n);
                else if (at_op(p, "("))
                        n = parse_call(p, n);
                else
                        return n;
}

static Node *parse_sign(Parser *p, NodeKind kind) {
        Node *n = new_here(p, kind);
        advance(p);
        n->value = parse_unary(p, false);
        return n;
}

static Node *parse_unary(Parser *p, bool with_filters) {
        enter(p);
        Node *n = at_op(p, "-")   ? parse_sign(p, NODE_NEGATE)
                  : at_op(p, "+") ? parse_sign(p, NODE_PLUS)
                                  : parse_primary(p);
        n = parse_postfix(p, n);
        if (with_filters)
                n = parse_filters(p, n);
        p->r->depth--;
        return n;
}

/* Operators that take their left side first: one row per level of precedence. */
typedef struct Infix {
        const char *text;
        Op op;
} Infix;

static bool find_infix(const Parser *p, const Infix *ops, Op *ret) {
        for (; ops->text; ops++)
                if (at_op(p, ops->text)) {
                        *ret = ops->op;
                        return true;
                }
        return false;
}

static Node *parse_infix(Parser *p, const Infix *ops, Node *(*operand)(Parser *p)) {
        Node *left = operand(p);
        Op op;
        while (find_infix(p, ops, &op)) {
                Node *n = new_here(p, NODE_BINARY);
                advance(p);
                n->binary.op = op;
                n->binary.left = left;
                n->binary.right = operand(p);
                left = n;
        }
        return left;
}

static Node *parse_operand(Parser *p) {
        return parse_unary(p, true);
}

static Node *parse_power(Parser *p) {
        static const Infix ops[] = {{"**", OP_POW}, {0}};
        return parse_infix(p, ops, parse_operand);
}

static Node *parse_product(Parser *p) {
        static const Infix ops[] = {{"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOOR_DIV}, {"%", OP_MOD}, {0}};
        return parse_infix(p, ops, parse_power);
}

static Node *parse_concat(Parser *p) {
        Node *first = parse_product(p);
        if (!at_op(p, "~"))
                return first;
        Node *n = new_here(p, NODE_CONCAT), **tail = append(&n->items, first);
        while (skip_op(p, "~"))
                tail = append(tail, parse_product(p));
        return n;
}

static Node *parse_sum(Parser *p) {
        static const Infix ops[] = {{"+", OP_ADD}, {"-", OP_SUB}, {0}};
        return parse_infix(p, ops, parse_concat);
}

static bool skip_comparison(Parser *p, Op *ret) {
        static const Infix ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE},
                                    {">", OP_GT},  {">=", OP_GE}, {0}};
        if (at_name(p, "in"))
                *ret = OP_IN;
        else if (at_name(p, "not") && token_is(&p->ahead, TOKEN_NAME, "in")) {
                *ret = OP_NOT_IN;
                advance(p);
        } else if (!find_infix(p, ops, ret))
                return false;
        advance(p);
        return true;
}

static Node *parse_comparison(Parser *p) {
        Node *left = parse_sum(p), *n = NULL, **tail = NULL;
        size_t pos = p->now.pos;
        for (Op op; skip_comparison(p, &op); pos = p->now.pos) {
                if (!n) {
                        n = new_node(p, NODE_COMPARE, pos);
                        n->binary.left = left;
                        tail = &n->binary.right;
                }
                Node *operand = new_node(p, NODE_OPERAND, pos);
                operand->binary.op = op;
                operand->binary.right = parse_sum(p);
                tail = append(tail, operand);
        }
        return n ? n : left;
}

static Node *parse_not(Parser *p) {
        if (!at_name(p, "not") || token_is(&p->ahead, TOKEN_NAME, "in"))
                return parse_comparison(p);
        Node *n = new_here(p, NODE_NOT);
        advance(p);
        enter(p);
        n->value = parse_not(p);
        p->r->depth--;
        return n;
}

static Node *parse_logic(Parser *p, const char *name, NodeKind kind, Node *(*operand)(Parser *p)) {
        Node *left = operand(p);
        while (at_name(p, name)) {
                Node *n = new_here(p, kind);
                advance(p);
                n->binary.left = left;
                n->binary.right = operand(p);
                left = n;
        }
        return left;
}

static Node *parse_and(Parser *p) {
        return parse_logic(p, "and", NODE_AND, parse_not);
}

static Node *parse_or(Parser *p) {
        return parse_logic(p, "or", NODE_OR, parse_and);
}

static Node *parse_expression(Parser *p) {
        enter(p);
        Node *n = parse_or(p);
        while (at_name(p, "if")) {
                Node *choice = new_here(p, NODE_COND);
                advance(p);
                choice->choice.then = n;
                choice->choice.condition = parse_or(p);
                choice->choice.otherwise = skip_name(p, "else") ? parse_expression(p) : NULL;
                n = choice;
        }
        p->r->depth--;
        return n;
}

/* a, or the tuple a, b, c up to the tag's end. */
static Node *parse_bare_tuple(Parser *p, Node *(*item)(Parser *p)) {
        Node *first = item(p);
        if (!at_op(p, ","))
                return first;
        Node *n = new_node(p, NODE_TUPLE, first->pos), **tail = append(&n->items, first);
        while (skip_op(p, ",") && p->now.kind != TOKEN_BLOCK_END && p->now.kind != TOKEN_VAR_END && !at_op(p, "="))
                tail = append(tail, item(p));
        return n;
}

/* Statements. */

static Node *parse_target_item(Parser *p);

/* What is assigned to: x, ns.x, (x, y), or x, y. */
static Node *parse_target(Parser *p) {
        enter(p);
        Node *n = parse_bare_tuple(p, parse_target_item);
        p->r->depth--;
        return n;
}

static Node *parse_target_item(Parser *p) {
        if (skip_op(p, "(")) {
                Node *n = parse_target(p);
                need_op(p, ")");
                return n;
        }
        Node *n = new_here(p, NODE_NAME);
        n->name = need_name(p);
        return at_op(p, ".") ? parse_dot(p, n) : n;
}

static Node *parse_capture(Parser *p, const char *end) {
        Node *n = new_here(p, NODE_CAPTURE);
        unsigned loops = p->loops;
        p->loops = 0;
        n->body = parse_body(p, end);
        p->loops = loops;
        return n;
}

static Node *new_output(Parser *p, Node *value) {
        Node *n = new_node(p, NODE_OUTPUT, value->pos);
        n->value = value;
        return n;
}

/* From behind `if` or `elif` to behind `endif`. */
static Node *parse_if(Parser *p) {
        Node *first = NULL, **slot = &first;
        do {
                Node *n = *slot = new_here(p, NODE_IF);
                n->choice.condition = parse_bare_tuple(p, parse_or);
                n->choice.then = parse_body(p, "elif else endif");
                slot = &n->choice.otherwise;
        } while (skip_name(p, "elif"));
        if (skip_name(p, "else"))
                *slot = parse_body(p, "endif");
        advance(p);
        return first;
}

static Node *parse_for(Parser *p) {
        Node *n = new_here(p, NODE_FOR);
        n->loop.target = parse_target(p);
        if (!skip_name(p, "in"))
                unexpected(p, "in");
        n->loop.iterable = parse_bare_tuple(p, parse_or);
        n->loop.condition = skip_name(p, "if") ? parse_expression(p) : NULL;
        if (at_name(p, "recursive"))
                jinja_fail(p->r, -EINVAL, "recursive loops are not supported");
        p->loops++;
        n->loop.body = parse_body(p, "else endfor");
        p->loops--;
        n->loop.otherwise = skip_name(p, "else") ? parse_body(p, "endfor") : NULL;
        advance(p);
        return n;
}

static Node *parse_set(Parser *p) {
        Node *n = new_here(p, NODE_SET);
        n->set.target = parse_target(p);
        if (skip_op(p, "=")) {
                n->set.value = parse_bare_tuple(p, parse_expression);
                return n;
        }
        /* The filters stand before the body they are applied to. */
        Node *body = new_here(p, NODE_CAPTURE);
        n->set.value = parse_filters(p, body);
        body->body = parse_capture(p, "endset")->body;
        advance(p);
        return n;
}

static Node *parse_parameters(Parser *p) {
        Node *first = NULL, **tail = &first;
        need_op(p, "(");
        while (!at_op(p, ")")) {
                Node *n = new_here(p, NODE_PARAM);
                n->param.name = need_name(p);
                n->param.standard = skip_op(p, "=") ? parse_expression(p) : NULL;
                tail = append(tail, n);
                if (!at_op(p, ")"))
                        need_op(p, ",");
        }
        advance(p);
        return first;
}

/* A macro's body, up to and with its `end` tag. */
static void parse_macro_body(Parser *p, Node *macro, const char *end) {
        Node *outer = p->macro;
        p->macro = macro;
        macro->macro.body = parse_capture(p, end)->body;
        p->macro = outer;
        advance(p);
}

static Node *parse_macro(Parser *p) {
        Node *n = new_here(p, NODE_SET), *macro = new_here(p, NODE_MACRO);
        n->set.target = new_here(p, NODE_NAME);
        n->set.target->name = macro->macro.name = need_name(p);
        n->set.value = macro;
        macro->macro.params = parse_parameters(p);
        parse_macro_body(p, macro, "endmacro");
        return n;
}

static Node *parse_call_block(Parser *p) {
        Node *macro = new_here(p, NODE_MACRO), *arg = new_here(p, NODE_ARG);
        arg->arg.name = macro->macro.name = jinja_cstring(p->r, "caller").s;
        arg->arg.value = macro;
        macro->macro.params = at_op(p, "(") ? parse_parameters(p) : NULL;
        Node *call = parse_expression(p);
        if (call->kind != NODE_CALL)
                unexpected(p, "a call");
        Node **tail = &call->call.args;
        while (*tail)
                tail = &(*tail)->next;
        *tail = arg;
        parse_macro_body(p, macro, "endcall");
        return new_output(p, call);
}

static Node *parse_filter_block(Parser *p) {
        Node *body = new_here(p, NODE_CAPTURE), *n = parse_filters(p, parse_filter(p, body));
        body->body = parse_capture(p, "endfilter")->body;
        advance(p);
        return new_output(p, n);
}

static Node *parse_with(Parser *p) {
        Node *scope = new_here(p, NODE_SCOPE), **tail = &scope->body;
        while (p->now.kind == TOKEN_NAME) {
                Node *n = new_here(p, NODE_SET);
                n->set.target = parse_target_item(p);
                need_op(p, "=");
                n->set.value = parse_expression(p);
                tail = append(tail, n);
                skip_op(p, ",");
        }
        *tail = parse_body(p, "endwith");
        advance(p);
        return scope;
}

/* transformers marks what the assistant generated with it, for training; here it prints its body. */
static Node *parse_generation(Parser *p) {
        Node *scope = new_here(p, NODE_SCOPE);
        scope->body = parse_body(p, "endgeneration");
        advance(p);
        return scope;
}

static Node *parse_jump(Parser *p, NodeKind kind) {
        if (p->loops == 0)
                jinja_fail(p->r, -EINVAL, "break and continue need a loop around them");
        return new_here(p, kind);
}

static Node *parse_break(Parser *p) {
        return parse_jump(p, NODE_BREAK);
}

static Node *parse_continue(Parser *p) {
        return parse_jump(p, NODE_CONTINUE);
}

static Node *parse_statement(Parser *p) {
        static const struct {
                const char *name;
                Node *(*parse)(Parser *p);
        } statements[] = {
                {"if", parse_if},          {"for", parse_for},
                {"set", parse_set},        {"macro", parse_macro},
                {"call", parse_call_block}, {"filter", parse_filter_block},
                {"with", parse_with},      {"generation", parse_generation},
                {"break", parse_break},    {"continue", parse_continue},
        };
        for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
                if (skip_name(p, statements[i].name)) {
                        enter(p);
                        Node *n = statements[i].parse(p);
                        p->r->depth--;
                        need(p, TOKEN_BLOCK_END, "%}");
                        return n;
                }
        unexpected(p, "a statement");
}

/* Whether the name at hand is one of those in `ends`. */
static bool at_end(const Parser *p, const char *ends) {
        char words[64], *rest = words;
        strncpy(words, ends, sizeof(words) - 1);
        words[sizeof(words) - 1] = 0;
        for (const char *word; (word = strsep(&rest, " "));)
                if (at_name(p, word))
                        return true;
        return false;
}

static Node *parse_text(Parser *p) {
        Node *n = new_here(p, NODE_TEXT);
        n->text = p->now.value.s;
        advance(p);
        return n;
}

static Node *parse_output(Parser *p) {
        advance(p);
        Node *n = new_output(p, parse_bare_tuple(p, parse_expression));
        need(p, TOKEN_VAR_END, "}}");
        return n;
}

/* Statements up to one of the tags in `ends` (from the end of the tag before), whose name is then at hand; with NULL,
 * up to the end of the template. */
static Node *parse_body(Parser *p, const char *ends) {
        Node *first = NULL, **tail = &first;
        if (ends)
                need(p, TOKEN_BLOCK_END, "%}");
        for (;;)
                if (p->now.kind == TOKEN_DATA)
                        tail = append(tail, parse_text(p));
                else if (p->now.kind == TOKEN_VAR_BEGIN)
                        tail = append(tail, parse_output(p));
                else if (p->now.kind == TOKEN_BLOCK_BEGIN) {
                        advance(p);
                        if (ends && at_end(p, ends))
                                return first;
                        tail = append(tail, parse_statement(p));
                } else if (p->now.kind == TOKEN_END && !ends)
                        return first;
                else
                        unexpected(p, ends ? ends : "text");
}

Node *jinja_parse(Run *r) {
        Parser p = {.r = r, .lexer = {.s = r->source->data, .len = r->source->len, .line_start = true}};
        p.ahead = jinja_lex(r, &p.lexer);
        advance(&p);
        return parse_body(&p, NULL);
}
