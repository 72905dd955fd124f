/* What is left after the sandbox: each test runs in a process of its own. */
#include "suite.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kek/sandbox.h"

#define BIT(cap) (1ull << (cap))

static const uint64_t always = BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_IPC_LOCK);
static const uint64_t switching = BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_KILL);

static uint64_t held(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    ck_assert_int_eq(syscall(SYS_capget, &head, data), 0);
    ck_assert_uint_eq(data[0].permitted, data[0].effective);
    return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static void enter(bool switches_user)
{
    uint64_t before = held();
    struct kek_why why = {.text = ""};
    ck_assert_msg(kek_sandbox_enter(switches_user, &why) == KEK_OK, "%s", why.text);
    ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    ck_assert_uint_eq(held(), before & (always | (switches_user ? switching : 0)));
}

START_TEST(enter_keeps_what_root_needs_for_its_files_and_nothing_else)
{
    enter(false);
    enter(false); /* harmless when repeated */
    ck_assert_int_eq(kill(1, 0) == 0 || errno == EPERM, 1);
}
END_TEST

START_TEST(enter_keeps_the_way_to_another_user_where_one_is_configured)
{
    enter(true);
    if ((held() & BIT(CAP_SETUID)) == 0) {
        return; /* not root: nothing to switch with */
    }
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        bool switched = setgid(65534) == 0 && setuid(65534) == 0;
        if (!switched) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    /* Whichever user it is by now, it can be killed. */
    int status = 0;
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

START_TEST(a_program_that_is_started_gets_nothing_back)
{
    enter(false);
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        execl("/bin/cat", "cat", "/proc/self/status", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *status = fdopen(out[0], "r");
    char line[256], expected[64];
    bool seen = false;
    snprintf(expected, sizeof expected, "CapPrm:\t%016llx\n", (unsigned long long)held());
    while (fgets(line, sizeof line, status) != NULL) {
        seen = seen || strcmp(line, expected) == 0;
    }
    fclose(status);
    int code = 0;
    ck_assert_int_eq(waitpid(child, &code, 0), child);
    ck_assert(seen && WIFEXITED(code) && WEXITSTATUS(code) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *tcase = tcase_create("sandbox");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, enter_keeps_what_root_needs_for_its_files_and_nothing_else);
    tcase_add_test(tcase, enter_keeps_the_way_to_another_user_where_one_is_configured);
    tcase_add_test(tcase, a_program_that_is_started_gets_nothing_back);
    return suite_run(suite);
}
