/* kekctl config example: a configuration to start from. */
#include "output.h"

enum ctl_exit ctl_config_example(struct ctl *ctl)
{
    if (!ctl->json) {
        return output_bytes(ctl, kek_bytes_of(kek_config_example()));
    }
    json_t *object = json_pack("{s:s}", "example", kek_config_example());
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, NULL, 0);
    json_decref(object);
    return code;
}
