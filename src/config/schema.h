/* The keys of the configuration, for whoever compares them with the manual page. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>

/* Every key in the order of the tables: "data_key.max_uses", "providers[].name". preset: its value
 * when it is not given, NULL if that is nothing or computed. */
void kek_config_schema_each(void (*visit)(void *arg, const char *path, const char *preset,
                                          bool required),
                            void *arg);

#endif
