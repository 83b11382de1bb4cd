/* A flow of control on a stack of its own, for the emulated threads. swapcontext() does it anywhere, but with a system
 * call for the signal mask, which nothing here changes: most of a test's time. So where we know the registers, those that
 * a callee must keep go onto the stack it leaves, and the stack pointer is all there is of a context. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)

typedef uint64_t *Context;

/* Goes on at `to`; returns when somebody goes on at `from`. */
void context_switch(Context *from, const Context *to);
__asm__(".text\n"
        ".type context_switch, @function\n"
        "context_switch:\n"
        "push %rbp\n"
        "push %rbx\n"
        "push %r12\n"
        "push %r13\n"
        "push %r14\n"
        "push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov (%rsi), %rsp\n"
        "pop %r15\n"
        "pop %r14\n"
        "pop %r13\n"
        "pop %r12\n"
        "pop %rbx\n"
        "pop %rbp\n"
        "ret\n"
        ".size context_switch, . - context_switch\n");

/* The first to go on there finds six registers and begins main(), which never returns, as if by a call: the stack is
 * 16 bytes aligned but for a return address. */
static inline void context_make(Context *c, void *stack, size_t size, void (*main)(void)) {
        *c = (uint64_t *)((char *)stack + size) - 8;
        (*c)[6] = (uintptr_t)main;
}

#else

#include <ucontext.h>

typedef ucontext_t Context;

static inline void context_switch(Context *from, const Context *to) {
        swapcontext(from, to);
}

static inline void context_make(Context *c, void *stack, size_t size, void (*main)(void)) {
        getcontext(c);
        c->uc_stack.ss_sp = stack;
        c->uc_stack.ss_size = size;
        c->uc_link = NULL;
        makecontext(c, main, 0);
}

#endif
