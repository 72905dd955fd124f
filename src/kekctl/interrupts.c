#include "interrupts.h"

volatile sig_atomic_t interrupts_met;

static void note(int number)
{
    interrupts_met = number;
}

void interrupts_catch(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}
