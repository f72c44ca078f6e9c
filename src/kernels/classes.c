/*
 * classes.c — tables of the classes that differ from fp32 in their matrices alone.
 */
#include "kernels/classes.h"

#include "kernels/bf16.h"

const quern__kernels *quern__kernels_of(int precision, uint32_t allowed, quern__kernels *room)
{
    const quern__kernels *base = quern__kernels_pick(allowed);
    if (precision == QUERN__CLASS_FP32)
        return base;
    if (precision == QUERN__CLASS_FP16) {
        *room = *base;
        room->base = base;
        room->kind = QUERN__MATRIX_F16;
        room->most = 0x1.ffdffep15f; /* the next one rounds to infinity */
        room->least = 0x1p-14f;      /* below are denormals: fewer bits, then none */
        room->pack = base->pack_half;
        room->product = base->product_half;
        return room;
    }
    const quern__bf16_kernels *b = quern__bf16_pick(allowed);
    *room = *base;
    room->name = b->name;
    room->need |= b->need;
    room->base = base;
    room->kind = QUERN__MATRIX_BF16;
    room->most = 0x1.fep127f;
    room->order = b->order;
    room->panel = b->panel;
    room->tile_rows = b->tile_rows;
    room->pack = b->pack;
    room->product = b->product;
    return room;
}
