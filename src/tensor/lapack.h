/* The LAPACK that is called (Anderson et al. 1999). Debian's OpenBLAS has its Fortran routines and no C
 * header for them: matrices are column-major, all arguments pointers, and the length of each text comes last,
 * by value, as gfortran passes it. */
#ifndef TAPEHEAD_TENSOR_LAPACK_H
#define TAPEHEAD_TENSOR_LAPACK_H

#include <stddef.h>

/* Eigenvalues w [n], rising, of the symmetric a [n,n], of which the triangle `uplo` is read; with jobz "V" the
 * eigenvectors take a's place, one after the other. lwork is at least 3n - 1. */
void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
            double *work, const int *lwork, int *info, size_t jobz_length, size_t uplo_length);

/* Singular values s [min(m,n)], falling, of a [m,n], which is destroyed; with jobu "S" the left singular vectors in
 * u, one after the other. lwork is at least max(3 min(m,n) + max(m,n), 5 min(m,n)). */
void dgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a, const int *lda,
             double *s, double *u, const int *ldu, double *vt, const int *ldvt, double *work,
             const int *lwork, int *info, size_t jobu_length, size_t jobvt_length);

/* Solves a x = b for the symmetric, positive definite a [n,n], of which the triangle `uplo` is read and destroyed; b [n,nrhs]
 * becomes x. info above 0: a is not positive definite. */
void dposv_(const char *uplo, const int *n, const int *nrhs, double *a, const int *lda, double *b,
            const int *ldb, int *info, size_t uplo_length);

#endif
