# Files of src/device, and the libraries and programs they make.
noinst_LTLIBRARIES += libzl-device.la
libzl_device_la_SOURCES = \
	src/device/dtype.h src/device/dtype.c \
	src/device/device.h src/device/device.c \
	src/device/cpu/cpu.h src/device/cpu/device.c src/device/cpu/stream.c \
	src/device/cpu/kernels.h src/device/cpu/activate.h src/device/cpu/finish.h src/device/cpu/half.h src/device/cpu/vec.h src/device/cpu/formats.h src/device/cpu/isa.c \
	src/device/cpu/kernels.c src/device/cpu/kernels-gemm.c src/device/cpu/kernels-attention.c \
	src/device/cpu/matmul.c src/device/cpu/embed.c src/device/cpu/norm.c src/device/cpu/rope.c \
	src/device/cpu/linear.c src/device/cpu/self-attention.c src/device/cpu/pool.c \
	src/device/cpu/attention.c src/device/cpu/elementwise.c src/device/cpu/routing.c src/device/cpu/sample.c
libzl_device_la_CFLAGS = $(AM_CFLAGS) -pthread
libzl_device_la_LIBADD =

# The inner loops again, for each instruction set that may be found at run time.
if HOST_X86_64
CPU_KERNELS = src/device/cpu/kernels.c src/device/cpu/kernels-gemm.c src/device/cpu/kernels-attention.c
CPU_AVX512 = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
noinst_LTLIBRARIES += libzl-cpu-avx2.la libzl-cpu-avx512.la libzl-cpu-avx512vnni.la libzl-cpu-amx.la
libzl_cpu_avx2_la_SOURCES = $(CPU_KERNELS)
libzl_cpu_avx2_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_ISA=avx2
libzl_cpu_avx2_la_CFLAGS = $(AM_CFLAGS) -mavx2 -mfma -mf16c
libzl_cpu_avx512_la_SOURCES = $(CPU_KERNELS)
libzl_cpu_avx512_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_ISA=avx512
libzl_cpu_avx512_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX512)
libzl_cpu_avx512vnni_la_SOURCES = $(CPU_KERNELS)
libzl_cpu_avx512vnni_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_ISA=avx512vnni
libzl_cpu_avx512vnni_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX512) -mavx512vnni
libzl_cpu_amx_la_SOURCES = src/device/cpu/kernels.c src/device/cpu/kernels-gemm-amx.c src/device/cpu/kernels-attention.c
libzl_cpu_amx_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_ISA=amx
libzl_cpu_amx_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX512) -mavx512vnni -mavx512bf16 -mamx-tile -mamx-bf16
libzl_device_la_LIBADD += libzl-cpu-avx2.la libzl-cpu-avx512.la libzl-cpu-avx512vnni.la libzl-cpu-amx.la
endif

include bench/local.mk
