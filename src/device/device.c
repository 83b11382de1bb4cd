/* What is the same for every device. */
#include "device/device.h"

void device_free(Device *d) {
        if (d)
                d->ops->free(d);
}
