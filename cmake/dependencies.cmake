# What quern links, found by pkg-config; tools/install-deps names the Debian packages.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
set(QUERN_PKGS sqlite3 libcurl libcrypto jansson libzip inih)
pkg_check_modules(QUERN_DEPS REQUIRED IMPORTED_TARGET ${QUERN_PKGS})
add_library(quern_deps INTERFACE)
target_link_libraries(quern_deps INTERFACE PkgConfig::QUERN_DEPS Threads::Threads m)
