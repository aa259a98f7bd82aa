# The CPU kernels in tensor/cpu/*.cpp are compiled once per instruction set, each time inside a namespace of that
# name (COSTEFF_ISA); tensor/cpu_backend.cpp picks one at run time. Their headers hold only what is inlined by force
# or private to the file, so that no AVX-512 copy of a shared function can reach an older machine.
file(GLOB cpu_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tensor/cpu/*.cpp)
foreach(isa v2 v3 v4)
  add_library(costeff_cpu_${isa} OBJECT ${cpu_kernels})
  target_link_libraries(costeff_cpu_${isa} PRIVATE costeff_options)
  target_compile_definitions(costeff_cpu_${isa} PRIVATE COSTEFF_ISA=${isa})
  # GCC 12 takes the undefined operand inside its own AVX-512 intrinsics for a mistake (its bug 105593).
  target_compile_options(costeff_cpu_${isa} PRIVATE -O3 -march=x86-64-${isa} -fno-math-errno -fno-trapping-math
                                                    -ffp-contract=fast -Wno-maybe-uninitialized)
  if(isa STREQUAL v4)
    target_compile_options(costeff_cpu_${isa} PRIVATE -mprefer-vector-width=512)
  endif()
  if(NOT isa STREQUAL v3)  # undefined behaviour is watched in one copy of the source
    set_target_properties(costeff_cpu_${isa} PROPERTIES COSTEFF_WITHOUT_UBSAN ON)
  endif()
  target_sources(costeff_tensor PRIVATE $<TARGET_OBJECTS:costeff_cpu_${isa}>)
endforeach()
