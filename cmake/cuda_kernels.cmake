# The CUDA kernels in tensor/cuda/*.cu, for sm_80 (A100) and sm_90a (H100): on where there is an nvcc. They are a
# library of objects of their own, because the flags of the host compiler are not nvcc's. Without CUDA
# tensor/cuda_absent.cpp says so to whoever asks.
include(CheckLanguage)
find_program(COSTEFF_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda/bin)
if(COSTEFF_NVCC AND NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${COSTEFF_NVCC})
endif()
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  set(cuda_found ON)
else()
  set(cuda_found OFF)
endif()
option(COSTEFF_CUDA "Build the CUDA backend" ${cuda_found})

if(COSTEFF_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
  file(GLOB cuda_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tensor/cuda/*.cu)
  add_library(costeff_cuda OBJECT ${cuda_kernels})
  target_include_directories(costeff_cuda PRIVATE ${PROJECT_SOURCE_DIR})
  # Relaxed: std::bit_cast and std::numeric_limits on the device.
  target_compile_options(costeff_cuda PRIVATE --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra -Xcudafe=--display_error_number)
  target_link_libraries(costeff_cuda PRIVATE CUDA::toolkit)
  if(COSTEFF_WERROR)
    target_compile_options(costeff_cuda PRIVATE -Werror all-warnings)
  endif()
  # AdamW step by step and caught up agree bit for bit: no product is contracted with a sum, and denormals are
  # flushed, as on the CPU.
  set_source_files_properties(${PROJECT_SOURCE_DIR}/tensor/cuda/adamw.cu PROPERTIES COMPILE_OPTIONS "-fmad=false;-ftz=true")
  get_target_property(tensor_sources costeff_tensor SOURCES)
  list(REMOVE_ITEM tensor_sources ${PROJECT_SOURCE_DIR}/tensor/cuda_absent.cpp)
  set_target_properties(costeff_tensor PROPERTIES SOURCES "${tensor_sources}")
  target_sources(costeff_tensor PRIVATE tensor/cuda/runtime.cpp tensor/cuda/blas.cpp $<TARGET_OBJECTS:costeff_cuda>)
  target_link_libraries(costeff_tensor PRIVATE CUDA::cudart_static)
endif()
