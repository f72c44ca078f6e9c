# libquern: every .c under src/, compiled once for the ABI floor; only the kernel variants get
# flags of their own, so that one binary runs everywhere and picks at run time.
file(GLOB_RECURSE QUERN_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.c)
if(NOT QUERN_POSTGRES) # store.c then says that it is built without
  list(FILTER QUERN_SOURCES EXCLUDE REGEX "/src/(db/postgres_[^/]*|store/postgres/[^/]*|embedder/place_postgres)[.]c$")
endif()
if(QUERN_REDIS)
  list(FILTER QUERN_SOURCES EXCLUDE REGEX "/src/cache/redis_absent[.]c$")
else()
  list(FILTER QUERN_SOURCES EXCLUDE REGEX "/src/(cache/redis|db/redis_db|embedder/place_redis)[.]c$")
endif()
if(QUERN_ORT)
  list(FILTER QUERN_SOURCES EXCLUDE REGEX "/src/encoder/ort_absent[.]c$")
else()
  list(FILTER QUERN_SOURCES EXCLUDE REGEX "/src/(base/os_library|encoder/ort|encoder/ort_api)[.]c$")
endif()
add_library(quern_objects OBJECT ${QUERN_SOURCES})
target_include_directories(quern_objects PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(quern_objects PRIVATE QUERN_BUILDING $<$<BOOL:${QUERN_POSTGRES}>:QUERN_POSTGRES>
  $<$<BOOL:${QUERN_REDIS}>:QUERN_REDIS>)
target_link_libraries(quern_objects PUBLIC quern_flags quern_deps)

include(cmake/kernels.cmake) # per-file flags of src/kernels/
include(cmake/migrations.cmake) # the .sql files as a generated header

add_library(quern_static STATIC $<TARGET_OBJECTS:quern_objects>)
target_include_directories(quern_static PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(quern_static PUBLIC $<BUILD_INTERFACE:quern_flags> $<BUILD_INTERFACE:quern_deps>
  $<INSTALL_INTERFACE:PkgConfig::QUERN_DEPS> $<INSTALL_INTERFACE:Threads::Threads> $<INSTALL_INTERFACE:m>)
set_target_properties(quern_static PROPERTIES OUTPUT_NAME quern EXPORT_NAME static)

set(QUERN_MAP ${PROJECT_SOURCE_DIR}/cmake/quern.map)
add_library(quern_shared SHARED $<TARGET_OBJECTS:quern_objects>)
target_include_directories(quern_shared PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(quern_shared PRIVATE $<BUILD_INTERFACE:quern_flags> $<BUILD_INTERFACE:quern_deps>)
target_link_options(quern_shared PRIVATE LINKER:--version-script=${QUERN_MAP} LINKER:--no-undefined-version)
set_target_properties(quern_shared PROPERTIES OUTPUT_NAME quern EXPORT_NAME quern LINK_DEPENDS ${QUERN_MAP}
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
