/* What the runtime's error numbers mean to us; see runtime.h. */
#include <errno.h>

#include "cuda/runtime.h"
#include "util/macro.h"

int cuda_errno(int error) {
        switch (error) {
        case 0:
                return 0;
        case CUDA_E_MEMORY:
                return -ENOMEM;
        case CUDA_E_DRIVER:
        case CUDA_E_NO_DEVICE:
        case CUDA_E_BAD_DEVICE:
        case CUDA_E_NO_KERNEL:
                return -ENODEV;
        default:
                return -EIO;
        }
}

/* Those of which driver_types.h says that the process must be ended, and, being of hardware or of nothing known, ECC
 * (214), NVLink (220) and unknown (999). */
bool cuda_is_sticky(int error) {
        static const int numbers[] = {214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999};
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
                if (numbers[i] == error)
                        return true;
        return false;
}
