#include "fields.h"

#include "kek/clock.h"
#include "kek/text.h"

bool kek_gcp_json_number(const json_t *object, const char *name, uint64_t max, uint64_t *number)
{
    const char *text = kek_gcp_json_text(object, name);
    return text != NULL && kek_text_decimal(text, max, number);
}

int64_t kek_gcp_json_moment(const json_t *object, const char *name)
{
    return kek_clock_parse(kek_gcp_json_text(object, name)) / 1000;
}
