/*
 * Cleanup by scope.  KEK_AUTO(kek_buf) x = ...; calls kek_buf_free(x) when x leaves scope.
 * KEK_STEAL(x) hands the pointer over and leaves NULL behind; it is the last step of a function,
 * once nothing can fail any more.  No macro here hides a return or a goto.
 */
#ifndef KEK_AUTO_H
#define KEK_AUTO_H

#include <stdlib.h>
#include <unistd.h>

#define KEK_MUST_CHECK __attribute__((warn_unused_result))
#define KEK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* For a large local on the way of every call that is filled before it is read, such as a struct kek_why:
 * builds that zero what is not initialised (-ftrivial-auto-var-init) spare it. */
#define KEK_UNFILLED __attribute__((uninitialized))

/* For a type `struct T` whose destructor is `void T_free(struct T *)`, which takes NULL. */
#define KEK_DEFINE_AUTO(T)                         \
    static inline void T##_auto(struct T **object) \
    {                                              \
        T##_free(*object);                         \
    }                                              \
    struct T

#define KEK_AUTO(T) __attribute__((cleanup(T##_auto))) struct T *

#define KEK_STEAL(object)                         \
    __extension__({                               \
        __typeof__(object) kek_stolen = (object); \
        (object) = NULL;                          \
        kek_stolen;                               \
    })

/* A heap string or array, released by free(3). */
static inline void kek_free_auto(void *object)
{
    void **pointer = object;
    free(*pointer);
}
#define KEK_AUTO_FREE __attribute__((cleanup(kek_free_auto)))

/* A file descriptor; negative means none. */
static inline void kek_close_auto(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}
#define KEK_AUTO_CLOSE __attribute__((cleanup(kek_close_auto)))

#endif
