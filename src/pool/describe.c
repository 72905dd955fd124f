/* What a worker says that keys are. */
#include "front.h"

#include <string.h>

#include "kek/text.h"

static bool take_bytes(ProtobufCBinaryData bytes, uint32_t whole, uint8_t *out, size_t max)
{
    if (bytes.len > max || bytes.len > whole || (bytes.len < max && bytes.len != whole)) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(out, bytes.data, bytes.len);
    }
    return true;
}

static bool take_attributes(const Kek__Provider__Object *wire, struct kek_provider_object *object)
{
    if (wire->n_attributes > KEK_PROVIDER_ATTRIBUTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < wire->n_attributes; i++) {
        if ((int)wire->attributes[i]->value < 0 ||
            wire->attributes[i]->value > KEK__PROVIDER__TRI__YES) {
            return false;
        }
        kek_text_copy(object->attributes[i].name, sizeof object->attributes[i].name,
                      wire->attributes[i]->name);
        object->attributes[i].value = (enum kek_tri)wire->attributes[i]->value;
    }
    object->attribute_count = wire->n_attributes;
    return true;
}

static bool take_object(const Kek__Provider__Object *wire, struct kek_provider_object *object)
{
    if (!take_bytes(wire->label, wire->label_len, object->label, sizeof object->label - 1) ||
        !take_bytes(wire->id, wire->id_len, object->id, sizeof object->id) ||
        !take_attributes(wire, object)) {
        return false;
    }
    object->handle = wire->handle;
    object->label_len = wire->label_len;
    object->id_len = wire->id_len;
    object->key_type = wire->key_type;
    object->value_len = wire->value_len;
    object->label_keys = wire->label_keys;
    object->id_keys = wire->id_keys;
    object->shared = wire->shared;
    object->number = wire->number;
    object->named = wire->named;
    kek_text_copy(object->refusal, sizeof object->refusal, wire->refusal);
    kek_text_copy(object->named_refusal, sizeof object->named_refusal, wire->named_refusal);
    return true;
}

bool kek_message_described(const Kek__Provider__Described *message,
                           struct kek_provider_described *described)
{
    if (message->n_objects > KEK_PROVIDER_OBJECTS_MAX || message->n_objects > message->total) {
        return false;
    }
    for (size_t i = 0; i < message->n_objects; i++) {
        if (!take_object(message->objects[i], &described->objects[i])) {
            return false;
        }
    }
    described->total = message->total;
    described->others = message->others;
    described->object_count = message->n_objects;
    return true;
}
