/* What a template is made of: tokens, and the tree the parser builds from them. */
#pragma once

#include "text/jinja-value.h"

typedef enum TokenKind {
        TOKEN_END,
        TOKEN_DATA,       /* text between blocks */
        TOKEN_VAR_BEGIN,  /* {{ */
        TOKEN_VAR_END,
        TOKEN_BLOCK_BEGIN, /* {% */
        TOKEN_BLOCK_END,
        TOKEN_NAME,
        TOKEN_STRING,
        TOKEN_INT,
        TOKEN_FLOAT,
        TOKEN_OPERATOR,
} TokenKind;

typedef struct Token {
        TokenKind kind;
        size_t pos;
        Value value; /* the text of data, a name or an operator; the value of a literal */
} Token;

typedef struct Lexer {
        size_t at;
        const char *s; /* the source, its newlines normalised */
        size_t len;
        enum { LEX_DATA, LEX_RAW, LEX_VAR, LEX_BLOCK } state;
        unsigned braces;      /* open brackets inside a tag: `}}` closes it only outside of them */
        bool opened;          /* a tag's opener was passed, and is the next token */
        bool line_start;      /* nothing stands before the data on its line */
} Lexer;

/* The next token; TOKEN_END at the end, again and again. */
Token jinja_lex(Run *r, Lexer *l);
/* The source with every line ended by \n, the last one by nothing. */
const String *jinja_normalise(Run *r, const char *source, size_t len);

typedef enum NodeKind {
        /* expressions */
        NODE_CONST,
        NODE_NAME,
        NODE_LIST,
        NODE_TUPLE,
        NODE_DICT,      /* items: key, value, key, value … */
        NODE_CONCAT,    /* a ~ b ~ c */
        NODE_BINARY,
        NODE_COMPARE,   /* chained: a < b < c */
        NODE_AND,
        NODE_OR,
        NODE_NOT,
        NODE_NEGATE,
        NODE_PLUS,
        NODE_COND,      /* a if b else c */
        NODE_ATTR,
        NODE_ITEM,
        NODE_SLICE,
        NODE_CALL,
        NODE_FILTER,
        NODE_TEST,
        NODE_CAPTURE,   /* what its body would print, as a string */
        NODE_MACRO,     /* a macro as a value; `{% macro %}` assigns it, `{% call %}` passes it on as caller */
        /* parts of calls and macros */
        NODE_ARG,
        NODE_PARAM,
        NODE_OPERAND,   /* of a comparison: operator and right side */
        /* statements */
        NODE_TEXT,
        NODE_OUTPUT,
        NODE_IF,
        NODE_FOR,
        NODE_SET,
        NODE_SCOPE,     /* a body whose assignments end with it */
        NODE_BREAK,
        NODE_CONTINUE,
} NodeKind;

typedef struct Node Node;

struct Node {
        NodeKind kind;
        size_t pos;
        Node *next; /* the next of its siblings in items, args, params, a body */
        union {
                Value constant;
                const String *name;             /* NAME */
                const String *text;             /* TEXT */
                Node *items;                    /* LIST, TUPLE, DICT, CONCAT */
                Node *value;                    /* OUTPUT, NOT, NEGATE, PLUS */
                Node *body;                     /* CAPTURE, SCOPE */
                struct {
                        Op op;
                        Node *left, *right;     /* COMPARE: right is a list of OPERANDs; OPERAND: only right */
                } binary;                       /* BINARY, COMPARE, OPERAND, AND, OR */
                struct {
                        Node *condition, *then, *otherwise;
                } choice;                       /* COND, IF (bodies; an elif is an IF in otherwise) */
                struct {
                        Node *object;
                        const String *name;
                } attr;
                struct {
                        Node *object, *index;
                } item;
                struct {
                        Node *object, *start, *stop, *step; /* NULL where left out */
                } slice;
                struct {
                        Node *callee; /* CALL: the function; FILTER, TEST: the subject */
                        Node *args;
                        const String *name;     /* FILTER, TEST */
                        const Builtin *builtin; /* NULL: there is none of this name, an error when it is reached */
                } call;
                struct {
                        const String *name;     /* NULL: positional */
                        Node *value;
                        enum { ARG_PLAIN, ARG_LIST, ARG_DICT } spread; /* x, *x, **x */
                } arg;
                struct {
                        const String *name;
                        Node *standard;         /* the default, or NULL */
                } param;
                struct {
                        const String *name;
                        Node *params, *body;
                        bool varargs, kwargs;   /* it uses these variables, so it takes any arguments */
                } macro;
                struct {
                        Node *target, *iterable, *condition, *body, *otherwise;
                } loop;
                struct {
                        Node *target, *value;
                } set;
        };
};

/* Parses the Run's source into a list of statements. */
Node *jinja_parse(Run *r);
