/* What a matrix of distances must be. */
#ifndef TAPEHEAD_STUDY_MATRIX_H
#define TAPEHEAD_STUDY_MATRIX_H

#include "tapehead/tensor.h"

/* TH_EINVAL where n is below 1, or a distance of [n,n] is NaN, infinite or negative. */
th_status th_study_check_distances(const char *who, int n, const double *distance, th_error *error);

#endif
