# What `cmake --install` puts down: both libraries, the public headers, quern.pc for pkg-config, and
# a CMake package: find_package(quern) gives quern::quern (shared) and, where the libraries it needs
# can be found, quern::static. The command line installs itself from cli/.
include(CMakePackageConfigHelpers)
set(QUERN_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/quern)

install(TARGETS quern_shared EXPORT quernTargets)
install(TARGETS quern_static EXPORT quernStaticTargets)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT quernTargets NAMESPACE quern:: DESTINATION ${QUERN_CMAKE_DIR})
install(EXPORT quernStaticTargets NAMESPACE quern:: DESTINATION ${QUERN_CMAKE_DIR})

configure_package_config_file(cmake/quernConfig.cmake.in ${PROJECT_BINARY_DIR}/quernConfig.cmake
  INSTALL_DESTINATION ${QUERN_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/quernConfigVersion.cmake
  COMPATIBILITY SameMinorVersion) # before 1.0 a minor version may break
install(FILES ${PROJECT_BINARY_DIR}/quernConfig.cmake ${PROJECT_BINARY_DIR}/quernConfigVersion.cmake
  DESTINATION ${QUERN_CMAKE_DIR})

# quern.pc: prefix is where the file lies, so that an installed tree may be moved.
string(REPLACE ";" " " QUERN_PC_REQUIRES "${QUERN_PKGS}")
file(RELATIVE_PATH QUERN_PC_UP ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/quern.pc.in quern.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/quern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
