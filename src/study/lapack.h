/* The LAPACK that the study calls (Anderson et al. 1999). Debian's OpenBLAS has its Fortran routines and no C
 * header for them: matrices are column-major, all arguments pointers, and the length of each text comes last,
 * by value, as gfortran passes it. */
#ifndef TAPEHEAD_STUDY_LAPACK_H
#define TAPEHEAD_STUDY_LAPACK_H

#include <stddef.h>

/* Eigenvalues w [n], rising, of the symmetric a [n,n], of which the triangle `uplo` is read; with jobz "V" the
 * eigenvectors take a's place, one after the other. With lwork -1 only work[0] is filled: the size of `work`. */
void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
            double *work, const int *lwork, int *info, size_t jobz_length, size_t uplo_length);

/* Singular values s [min(m,n)], falling, of a [m,n], which is destroyed; with jobu "S" the left singular vectors in
 * u, one after the other. */
void dgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a, const int *lda,
             double *s, double *u, const int *ldu, double *vt, const int *ldvt, double *work,
             const int *lwork, int *info, size_t jobu_length, size_t jobvt_length);

#endif
