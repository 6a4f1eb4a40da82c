/* Of 16 numbers a permutation fetches one for each lane of a vector of floats. tools/fit_math.py prints what follows. */
#define WHOLE __attribute__((aligned(64))) /* a line of the cache */

/* expm1 of degree 3, relative error 4.2e-7 */
static const real expm1_table[] = {
    0x1p-1f,
    0x1.55524p-3f,
};
/* 2^(j/16) */
static const real power_table[] WHOLE = {
    0x1p0f,        0x1.0b5586p0f, 0x1.172b84p0f, 0x1.2387a6p0f, 0x1.306fep0f,  0x1.3dea64p0f,
    0x1.4bfdaep0f, 0x1.5ab07ep0f, 0x1.6a09e6p0f, 0x1.7a1148p0f, 0x1.8ace54p0f, 0x1.9c4918p0f,
    0x1.ae89fap0f, 0x1.c199bep0f, 0x1.d5818ep0f, 0x1.ea4afap0f,
};
/* Its bits, less those of 1 and less j 2^19: added to j 2^19 they give its fraction. */
static const real_int power_bits[] WHOLE = {
    0,       -152893, -289342, -408621, -509968, -592590, -655657, -698305,
    -719629, -718684, -694486, -646004, -572163, -471841, -343865, -187011,
};

/* tanh(c + r) by powers of r. Pieces begin where c + TANH_SHIFT is a number of three bits, and stand where the last two of these
 * and the last two of its exponent say. */
#define TANH_SHIFT 0x1.4p-1f
/* relative error 4.2e-8 */
static const real tanh_table[][16] WHOLE = {
    {
        0x1.c278a6p-1f,
        0x1.e8789ep-1f,
        0x1.f73776p-1f,
        0x1.fcc04cp-1f,
        0x1.fecd6cp-1f,
        0x1.ffd678p-1f,
        0x1.fffa6p-1f,
        0x1.ffff3ep-1f,
        0x1.ffffe6p-1f,
        0x0p0f,
        0x1.fd5992p-4f,
        0x1.f597eap-3f,
        0x1.6ef53ep-2f,
        0x1.1bf47ep-1f,
        0x1.68665p-1f,
        0x1.9e5cb6p-1f,
    },
    {
        0x1.cea91p-3f,
        0x1.6fcf42p-4f,
        0x1.16a6f2p-5f,
        0x1.9e85cep-7f,
        0x1.3216c6p-8f,
        0x1.4c1078p-11f,
        0x1.679e3ap-14f,
        0x1.855dd2p-17f,
        0x1.a314p-20f,
        0x1p0f,
        0x1.f81524p-1f,
        0x1.e1499ep-1f,
        0x1.be3f98p-1f,
        0x1.6284cp-1f,
        0x1.025018p-1f,
        0x1.61501ap-2f,
    },
    {
        -0x1.974492p-3f,
        -0x1.5ede38p-4f,
        -0x1.11c248p-5f,
        -0x1.9bac1ap-7f,
        -0x1.2f86f2p-8f,
        -0x1.49e5c6p-11f,
        -0x1.655c82p-14f,
        -0x1.82efaep-17f,
        -0x1.90a20cp-20f,
        0x1.4ee72ap-22f,
        -0x1.f574d6p-4f,
        -0x1.d77e66p-3f,
        -0x1.3fc436p-2f,
        -0x1.893a04p-2f,
        -0x1.6bae26p-2f,
        -0x1.1df526p-2f,
    },
    {
        0x1.9c1882p-4f,
        0x1.a7b25ep-5f,
        0x1.5e64fep-6f,
        0x1.0cf384p-7f,
        0x1.81fd6cp-9f,
        0x1.a4c39ep-12f,
        0x1.c7f962p-15f,
        0x1.edbc9ap-18f,
        0x1.c26958p-21f,
        -0x1.555b2ep-2f,
        -0x1.40a11ap-2f,
        -0x1.07565p-2f,
        -0x1.706432p-3f,
        -0x1.2633b6p-6f,
        0x1.50e8d6p-4f,
        0x1.c829aap-4f,
    },
    {
        -0x1.aa7ad4p-6f,
        -0x1.51aef8p-6f,
        -0x1.35e5dap-7f,
        -0x1.ec2bf2p-9f,
        -0x1.3b63fep-10f,
        -0x1.591042p-13f,
        -0x1.761f74p-16f,
        -0x1.95223cp-19f,
        -0x1.1bc406p-22f,
        0x1.ef76d2p-12f,
        0x1.515008p-4f,
        0x1.253f42p-3f,
        0x1.6ece3ap-3f,
        0x1.1d4fa2p-3f,
        0x1.d50ebp-5f,
        0x1.e27604p-17f,
    },
    {
        0x1.fd696p-11f,
        0x1.2486f8p-8f,
        0x1.378c0cp-9f,
        0x1.020d68p-10f,
        0x1.fa25fap-13f,
        0x1.15dab8p-15f,
        0x1.2d652ap-18f,
        0x1.4665fcp-21f,
        0x1.30e972p-25f,
        0x1.0a36dep-3f,
        0x1.8f39cap-4f,
        0x1.7c02ep-5f,
        -0x1.99bd56p-6f,
        -0x1.036f3cp-4f,
        -0x1.7d51e2p-5f,
        -0x1.40c0bap-6f,
    },
};

#undef WHOLE
