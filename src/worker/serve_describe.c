/* Described, as bytes. */
#include "serve.h"

#include <string.h>

static void object_message(const struct kek_provider_object *object,
                           Kek__Provider__Attribute *attributes,
                           Kek__Provider__Attribute **pointers, Kek__Provider__Object *message)
{
    kek__provider__object__init(message);
    for (size_t i = 0; i < object->attribute_count; i++) {
        kek__provider__attribute__init(&attributes[i]);
        attributes[i].name = (char *)object->attributes[i].name;
        attributes[i].value = (Kek__Provider__Tri)object->attributes[i].value;
        pointers[i] = &attributes[i];
    }
    size_t label_max = sizeof object->label - 1;
    message->n_attributes = object->attribute_count;
    message->attributes = pointers;
    message->handle = object->handle;
    message->label.data = (uint8_t *)object->label;
    message->label.len = object->label_len < label_max ? object->label_len : label_max;
    message->label_len = (uint32_t)object->label_len;
    message->id.data = (uint8_t *)object->id;
    message->id.len = object->id_len < sizeof object->id ? object->id_len : sizeof object->id;
    message->id_len = (uint32_t)object->id_len;
    message->key_type = object->key_type;
    message->value_len = object->value_len;
    message->label_keys = object->label_keys;
    message->id_keys = object->id_keys;
    message->shared = object->shared;
    message->number = object->number;
    message->named = object->named;
    message->refusal = (char *)object->refusal;
    message->named_refusal = (char *)object->named_refusal;
}

bool kek_serve_message_described(struct kek_buf *reply, uint64_t id,
                                 const struct kek_provider_described *described)
{
    Kek__Provider__Object items[KEK_PROVIDER_OBJECTS_MAX];
    Kek__Provider__Object *pointers[KEK_PROVIDER_OBJECTS_MAX];
    Kek__Provider__Attribute attributes[KEK_PROVIDER_OBJECTS_MAX][KEK_PROVIDER_ATTRIBUTES_MAX];
    Kek__Provider__Attribute
        *attribute_pointers[KEK_PROVIDER_OBJECTS_MAX][KEK_PROVIDER_ATTRIBUTES_MAX];
    for (size_t i = 0; i < described->object_count; i++) {
        object_message(&described->objects[i], attributes[i], attribute_pointers[i], &items[i]);
        pointers[i] = &items[i];
    }
    Kek__Provider__Described result = KEK__PROVIDER__DESCRIBED__INIT;
    result.n_objects = described->object_count;
    result.objects = pointers;
    result.total = described->total;
    result.others = described->others;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_DESCRIBED;
    message.described = &result;
    return kek_serve_message_reply(reply, &message);
}
